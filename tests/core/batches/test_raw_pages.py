"""Images out of the pages of files as Arrow writes them; what is not plain is left to Arrow."""

import errno
import io
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from farandole.core.batches import raw_pages
from farandole.core.batches.raw_pages import Pages, RawPages, find_images
from farandole.core.dataset import parquet
from farandole.core.dataset.manifest import FileEntry
from farandole.core.dataset.parquet import OpenFiles
from farandole.core.fingerprint import file_sha256
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


def entry_of(path: Path) -> FileEntry:
    sizes = {"num_rows": sum(ROW_GROUPS), "num_bytes": path.stat().st_size, "row_groups": list(ROW_GROUPS)}
    return FileEntry(path=path.name, sha256=file_sha256(path), **sizes)


def find(path: Path, row_group: int, row_bytes: int = ROW_BYTES) -> Pages | None:
    return RawPages(OpenFiles(path.parent), row_bytes).find(entry_of(path), row_group)


@pytest.mark.parametrize("buffer_bytes", [1, 5 * 52, 10**6])
def test_any_rows_are_those_that_were_written(tmp_path, monkeypatch, buffer_bytes):
    monkeypatch.setattr(raw_pages, "_BUFFER_BYTES", buffer_bytes)
    path, before = tmp_path / "x.parquet", 0
    images, pages = write(path), RawPages(OpenFiles(tmp_path), ROW_BYTES)
    for row_group, size in enumerate(ROW_GROUPS):
        found = pages.find(entry_of(path), row_group)
        assert found is not None
        assert (len(found.places) > 2) == (size > 1)  # several pages, so that their borders are crossed
        for first, stop in ((0, size), (0, 1), (size - 1, size), (size // 3, size // 2), (size, size)):
            out = np.zeros((stop - first, 4, 4, 3), np.uint8)
            pages.copy(found, first, out)
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


def test_where_each_image_of_a_file_begins(tmp_path):
    path = tmp_path / "x.parquet"
    images, footer = write(path), pq.read_metadata(path)
    with path.open("rb") as source:
        starts = find_images("x", source, footer, ROW_BYTES)
        assert starts is not None
        assert find_images("x", source, footer, ROW_BYTES + 1) is None
    stored = np.frombuffer(path.read_bytes(), np.uint8)
    assert np.array_equal(stored[starts[:, None] + np.arange(ROW_BYTES)], images)


def test_images_of_another_size_are_left_to_arrow(tmp_path):
    write(tmp_path / "x.parquet")
    assert find(tmp_path / "x.parquet", 0, ROW_BYTES + 1) is None


@pytest.mark.parametrize("damage", ["length", "end"])
def test_a_file_that_changes_afterwards_is_named(tmp_path, damage):
    path = tmp_path / "x.parquet"
    write(path)
    pages = find(path, 0)
    assert pages is not None
    data, start = bytearray(path.read_bytes()), int(pages.places[0, 1])
    data[start + 52] ^= 1  # the length of the second image
    path.write_bytes(data if damage == "length" else data[: start + 60])
    with pytest.raises(DataError, match=r"x\.parquet, row group 0 has changed since it was opened"):
        RawPages(OpenFiles(tmp_path), ROW_BYTES).copy(pages, 0, np.empty((2, ROW_BYTES), np.uint8))


def test_a_file_that_was_cut_is_named_where_the_buffer_still_holds_its_rows(tmp_path):
    write(tmp_path / "x.parquet")
    pages, out = find(tmp_path / "x.parquet", 0), np.empty((64, ROW_BYTES), np.uint8)
    assert pages is not None
    reader = RawPages(OpenFiles(tmp_path), ROW_BYTES)
    reader.copy(pages, 0, out)
    os.truncate(tmp_path / "x.parquet", int(pages.places[0, 1]) + 60)
    with pytest.raises(DataError, match=r"x\.parquet, row group 0 has changed since it was opened"):
        reader.copy(pages, 0, out)


class FewBytes(io.FileIO):
    """A file on a file system that gives no more than some bytes at a time."""

    def readinto(self, buffer: Any) -> int | None:
        return super().readinto(memoryview(buffer)[:1000])


class BadDisk(io.FileIO):
    def readinto(self, buffer: Any) -> int | None:
        raise OSError(errno.EIO, "Input/output error")


def test_reads_that_give_less_are_continued_and_failing_ones_named(tmp_path):
    path = tmp_path / "x.parquet"
    images, pages = write(path), find(path, 0)
    assert pages is not None
    out = np.empty((1000, ROW_BYTES), np.uint8)
    RawPages(OpenFiles(tmp_path), ROW_BYTES).copy(replace(pages, source=FewBytes(path)), 0, out)
    assert np.array_equal(out, images[:1000])
    with pytest.raises(DataError, match=r"x\.parquet, row group 0 cannot be read: .*Input/output error"):
        RawPages(OpenFiles(tmp_path), ROW_BYTES).copy(replace(pages, source=BadDisk(path)), 0, out)


def test_a_file_that_is_not_the_manifests_is_named_and_few_are_open(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "MAX_OPEN_FILES", 2)
    reader, found = RawPages(OpenFiles(tmp_path), ROW_BYTES), []
    for number in range(4):
        path = tmp_path / f"{number}.parquet"
        write(path)
        found.append(reader.find(entry_of(path), 1))
    assert [pages.source.closed for pages in found] == [True, True, False, False]
    entry = entry_of(path)
    path.write_bytes(path.read_bytes()[:-1] + b"X")
    for open_it in (OpenFiles(tmp_path).file, OpenFiles(tmp_path).source):
        with pytest.raises(DataError, match=r"3\.parquet has SHA-256 .*, the manifest says .*; the file is damaged"):
            open_it(entry)
    path.unlink()
    for open_it in (OpenFiles(tmp_path).file, OpenFiles(tmp_path).source):
        with pytest.raises(DataError, match=r"3\.parquet is listed in the manifest but does not exist"):
            open_it(entry)
