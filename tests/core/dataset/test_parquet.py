"""Files that no manifest lists: their footers are parsed once, and errors stay those that Spark tries again after."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from farandole.core.dataset import parquet
from farandole.core.dataset.parquet import open_unlisted


def put(path: Path, numbers: list[int]) -> None:
    pq.write_table(pa.table({"number": numbers}), path, row_group_size=2)


def test_a_footer_is_parsed_once_unless_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed, parse = [], parquet.footer_bytes
    monkeypatch.setattr(parquet, "footer_bytes", lambda source: parsed.append(source.name) or parse(source))
    path = tmp_path / "listing.parquet"
    put(path, [1, 2, 3])
    assert [open_unlisted(path).read_row_group(part)["number"].to_pylist() for part in (0, 1)] == [[1, 2], [3]]
    assert len(parsed) == 1
    put(path, [4, 5, 6, 7, 8])
    assert open_unlisted(path).read_row_group(2)["number"].to_pylist() == [8]
    assert len(parsed) == 2


def test_errors_are_not_made_final(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone.parquet"):
        open_unlisted(tmp_path / "gone.parquet")
    (tmp_path / "short.parquet").write_bytes(b"PAR1")
    with pytest.raises(pa.ArrowInvalid, match="Parquet file size is 4 bytes"):
        open_unlisted(tmp_path / "short.parquet")
