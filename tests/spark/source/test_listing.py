"""A listing between the driver that writes it and the tasks, each of which reads its part."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from farandole.spark.source.listing import LISTING, LISTING_NAME, list_row, make_listing, read_listed, write_listing


def test_a_listing_is_sorted_and_a_row_group_is_a_part(tmp_path: Path) -> None:
    listing = make_listing([list_row(name) for name in ("b/2", "a/1", "c/3")])
    write_listing(tmp_path, listing, [2, 1])
    assert [read_listed(tmp_path, part)["image_id"].to_pylist() for part in (0, 1)] == [["a/1", "b/2"], ["c/3"]]
    assert pq.ParquetFile(tmp_path / LISTING_NAME).schema_arrow == LISTING


def test_a_process_parses_the_footer_of_a_listing_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_listing(tmp_path, make_listing([list_row(f"{number}") for number in range(9)]), [3, 3, 3])
    given, file_class = [], pq.ParquetFile

    def open_parquet(path: Path, metadata: pq.FileMetaData | None = None, **options: Any) -> pq.ParquetFile:
        given.append(metadata)
        return file_class(path, metadata=metadata, **options)

    monkeypatch.setattr(pq, "ParquetFile", open_parquet)
    parts = pa.concat_tables([read_listed(tmp_path, part) for part in range(3)])
    assert parts["image_id"].to_pylist() == [f"{number}" for number in range(9)]
    assert [metadata is None for metadata in given] == [True, False, False]
