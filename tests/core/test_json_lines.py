"""What a killed process leaves of its lines is read, and what a resumed one writes again is cut off."""

import json

from farandole.core.json_lines import append_line, keep_lines, read_lines


def test_lines_are_cut_back_and_half_ones_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert read_lines(path) == []
    for step in (1, 2, 3):
        append_line(path, {"global_step": step})
    with path.open("a") as file:
        file.write('{"global_st')
    assert [line["global_step"] for line in read_lines(path)] == [1, 2, 3]
    keep_lines(path, 2)
    assert path.read_text() == "".join(json.dumps({"global_step": step}) + "\n" for step in (1, 2))
