"""What a killed process leaves of its lines is read, and what a resumed one writes again is cut off."""

import json

from farandole.core.json_lines import append_line, json_text, keep_lines, read_lines


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


def test_a_table_takes_a_line_for_each_row_and_all_else_is_as_json_writes_it():
    value = {
        "train": {"epochs": 3, "loss": float("nan"), "note": None},
        "per_class": {'c"at': {"support": 1, "f1": 0.1}},
        "confusion": [[1, 0], [2, 3]],
        "wrong_rows": [{"row": 7, "label": "é"}],
        "nothing": [[], {}, []],
    }
    text = json_text(value)
    assert repr(json.loads(text)) == repr(value)
    assert '"confusion": [\n  [1,0],\n  [2,3]\n ],' in text
    plain = {"train": {"epochs": 3, "wall": 1.5}, "wrong_rows": [{"row": 7}], "none": None, "empty": {}}
    assert json_text(plain) == json.dumps(plain, indent=1)
    large = json_text({"confusion": [[0] * 1000] * 1000})
    assert len(large) < 2_100_000
    assert large.count("\n") == 1003
