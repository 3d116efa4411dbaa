"""Images out of the pages of files as Arrow writes them; what is not plain is left to Arrow."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from farandole.core import raw_pages
from farandole.core.raw_pages import RawPages
from farandole.errors import DataError

ROW_BYTES, ROW_GROUPS = 48, (1000, 1, 700)
PLAIN = {"compression": "none", "use_dictionary": False, "data_page_size": 4096, "write_batch_size": 64}


def write(path: Path, *, nullable: bool = False, **options: Any) -> np.ndarray:
    """A file with an image column between two others; returns its images, uint8 [n, ROW_BYTES]."""
    images = np.random.default_rng(0).integers(0, 256, (sum(ROW_GROUPS), ROW_BYTES)).astype(np.uint8)
    fields = [pa.field("id", pa.int64()), pa.field("image", pa.binary(), nullable=nullable), pa.field("x", pa.int32())]
    columns = [np.arange(len(images)), [image.tobytes() for image in images], np.zeros(len(images), np.int32)]
    table = pa.table([pa.array(c, f.type) for c, f in zip(columns, fields, strict=True)], pa.schema(fields))
    with pq.ParquetWriter(path, table.schema, **{**PLAIN, **options}) as writer:
        for stop, size in zip(np.cumsum(ROW_GROUPS), ROW_GROUPS, strict=True):
            writer.write_table(table.slice(stop - size, size), row_group_size=size)
    return images


def find(path: Path, row_group: int, row_bytes: int = ROW_BYTES) -> np.ndarray | None:
    with path.open("rb", buffering=0) as source:
        return RawPages(row_bytes).find(path, source, pq.read_metadata(path), row_group)


@pytest.mark.parametrize("buffer_bytes", [1, 5 * 52, 10**6])
def test_any_rows_are_those_that_were_written(tmp_path, monkeypatch, buffer_bytes):
    monkeypatch.setattr(raw_pages, "_BUFFER_BYTES", buffer_bytes)
    path, before = tmp_path / "x.parquet", 0
    images, pages = write(path), RawPages(ROW_BYTES)
    with path.open("rb", buffering=0) as source:
        for row_group, size in enumerate(ROW_GROUPS):
            found = pages.find(path, source, pq.read_metadata(path), row_group)
            assert found is not None
            assert (len(found) > 2) == (size > 1)  # several pages, so that their borders are crossed
            for first, stop in ((0, size), (0, 1), (size - 1, size), (size // 3, size // 2), (size, size)):
                out = np.zeros((stop - first, 4, 4, 3), np.uint8)
                pages.copy(path, source, found, first, out)
                assert np.array_equal(out.reshape(-1, ROW_BYTES), images[before + first : before + stop])
            before += size


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "zstd"},
        {"use_dictionary": True},
        {"nullable": True},
        {"data_page_version": "2.0"},
        {"use_byte_stream_split": False, "column_encoding": {"image": "DELTA_LENGTH_BYTE_ARRAY"}},
    ],
)
def test_what_is_stored_otherwise_is_left_to_arrow(tmp_path, options):
    write(tmp_path / "x.parquet", **options)
    assert find(tmp_path / "x.parquet", 0) is None


def test_images_of_another_size_are_left_to_arrow(tmp_path):
    write(tmp_path / "x.parquet")
    assert find(tmp_path / "x.parquet", 0, ROW_BYTES + 1) is None


@pytest.mark.parametrize("damage", ["length", "end"])
def test_a_file_that_changes_afterwards_is_named(tmp_path, damage):
    path = tmp_path / "x.parquet"
    write(path)
    pages = find(path, 0)
    assert pages is not None
    data = bytearray(path.read_bytes())
    data[int(pages[0, 1]) + 52] ^= 1  # the length of the second image
    path.write_bytes(data if damage == "length" else data[: int(pages[0, 1]) + 60])
    with path.open("rb", buffering=0) as source, pytest.raises(DataError, match=r"x\.parquet has changed since"):
        RawPages(ROW_BYTES).copy(path, source, pages, 0, np.empty((2, ROW_BYTES), np.uint8))
