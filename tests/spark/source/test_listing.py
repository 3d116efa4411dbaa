"""A listing between the driver that writes it and the tasks, each of which reads its part."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from farandole.core.dataset import parquet
from farandole.spark.source.listing import LISTING, LISTING_NAME, list_row, make_listing, read_listed, write_listing


def test_a_listing_is_sorted_and_a_row_group_is_a_part(tmp_path: Path) -> None:
    listing = make_listing([list_row(name) for name in ("b/2", "a/1", "c/3")])
    write_listing(tmp_path, listing, [2, 1])
    assert [read_listed(tmp_path, part)["id"].to_pylist() for part in (0, 1)] == [["a/1", "b/2"], ["c/3"]]
    assert pq.ParquetFile(tmp_path / LISTING_NAME).schema_arrow == LISTING


def test_a_process_parses_the_footer_of_a_listing_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_listing(tmp_path, make_listing([list_row(f"{number}") for number in range(9)]), [3, 3, 3])
    parsed, parse = [], parquet.footer_bytes
    monkeypatch.setattr(parquet, "footer_bytes", lambda source: parsed.append(source.name) or parse(source))
    parts = pa.concat_tables([read_listed(tmp_path, part) for part in range(3)])
    assert parts["id"].to_pylist() == [f"{number}" for number in range(9)]
    assert len(parsed) == 1
