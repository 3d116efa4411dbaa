"""Images out of the pages of files as Arrow writes them; what is not plain is left to Arrow."""

import errno
import hashlib
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from farandole.core.batches import raw_pages
from farandole.core.batches.raw_pages import RawPages, find_pages, find_values
from farandole.core.dataset import parquet
from farandole.core.dataset.manifest import FileEntry
from farandole.core.dataset.parquet import OpenFiles, footer_bytes
from farandole.core.fingerprint import file_sha256
from farandole.errors import DataError

ROW_BYTES, ROW_GROUPS = 48, (1000, 1, 700)
PLAIN = {
    "compression": "none",
    "use_dictionary": False,
    "data_page_size": 4096,
    "write_batch_size": 64,
    "write_page_checksum": True,
}


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
    with path.open("rb") as source:
        footer = hashlib.sha256(footer_bytes(source)).hexdigest()
    sizes = {"num_rows": sum(ROW_GROUPS), "num_bytes": path.stat().st_size, "row_groups": list(ROW_GROUPS)}
    return FileEntry(path=path.name, sha256=file_sha256(path), footer_sha256=footer, **sizes)


def read(path: Path, row_group: int, row_bytes: int = ROW_BYTES) -> np.ndarray | None:
    return RawPages(OpenFiles(path.parent), "image", row_bytes).read(entry_of(path), row_group)


@pytest.mark.parametrize("piece_bytes", [1, 300, 10**6])
def test_every_row_group_is_what_was_written(tmp_path, monkeypatch, piece_bytes):
    monkeypatch.setattr(raw_pages, "_PIECE_BYTES", piece_bytes)
    path, first = tmp_path / "x.parquet", 0
    images, pages = write(path), RawPages(OpenFiles(tmp_path), "image", ROW_BYTES)
    for row_group, size in enumerate(ROW_GROUPS):
        with path.open("rb") as source:
            found = find_pages("x", source, pq.read_metadata(path), row_group, "image", ROW_BYTES)
        assert found is not None
        assert (len(found.starts) > 1) == (size > 1)  # several pages, so that their borders are crossed
        for _ in range(2):
            assert np.array_equal(pages.read(entry_of(path), row_group), images[first : first + size])
        first += size


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
    assert read(tmp_path / "x.parquet", 0) is None


def test_where_each_image_of_a_file_begins(tmp_path):
    path = tmp_path / "x.parquet"
    images, footer = write(path), pq.read_metadata(path)
    with path.open("rb") as source:
        starts = find_values("x", source, footer, "image", ROW_BYTES)
        assert starts is not None
        assert find_values("x", source, footer, "image", ROW_BYTES + 1) is None
    stored = np.frombuffer(path.read_bytes(), np.uint8)
    assert np.array_equal(stored[starts[:, None] + np.arange(ROW_BYTES)], images)


def test_images_of_another_size_are_left_to_arrow(tmp_path):
    write(tmp_path / "x.parquet")
    assert read(tmp_path / "x.parquet", 0, ROW_BYTES + 1) is None


def test_images_of_several_sizes_are_refused_where_they_add_up(tmp_path):
    table = pa.table([pa.array([b"abc", b"a"], pa.binary())], pa.schema([pa.field("image", pa.binary(), False)]))
    pq.write_table(table, tmp_path / "x.parquet", **PLAIN)
    entry = entry_of(tmp_path / "x.parquet").model_copy(update={"num_rows": 2, "row_groups": [2]})
    with pytest.raises(DataError, match=r"x\.parquet, row group 0 holds other sizes of 'image' than 2 bytes"):
        RawPages(OpenFiles(tmp_path), "image", 2).read(entry, 0)


def test_pages_without_a_checksum_are_refused(tmp_path):
    write(tmp_path / "x.parquet", write_page_checksum=False)
    with pytest.raises(DataError, match=r"x\.parquet, row group 0, column 'image': .* has CRC32 \w+, its header has n"):
        read(tmp_path / "x.parquet", 0)


@pytest.mark.parametrize("at", ["first page", "last page"])
def test_one_flipped_bit_is_named_whenever_it_flips(tmp_path, at):
    path = tmp_path / "x.parquet"
    images, entry = write(path), entry_of(path)
    reader = RawPages(OpenFiles(tmp_path), "image", ROW_BYTES)
    assert np.array_equal(reader.read(entry, 2), images[-700:])
    data = bytearray(path.read_bytes())
    data[data.index((images[-700] if at == "first page" else images[-1]).tobytes())] ^= 4
    with path.open("r+b") as file:  # the same file, which stays open
        file.write(data)
    for of in (reader, RawPages(OpenFiles(tmp_path), "image", ROW_BYTES)):
        with pytest.raises(
            DataError, match=r"x\.parquet, row group 2, column 'image': the page at byte \d+ has CRC32 "
        ):
            of.read(entry, 2)
        assert np.array_equal(of.read(entry, 0), images[:1000])


def test_a_file_that_was_cut_afterwards_is_named(tmp_path):
    write(tmp_path / "x.parquet")
    entry, reader = entry_of(tmp_path / "x.parquet"), RawPages(OpenFiles(tmp_path), "image", ROW_BYTES)
    reader.read(entry, 0)
    os.truncate(tmp_path / "x.parquet", 10_000)
    with pytest.raises(DataError, match=r"x\.parquet, row group 0, column 'image': .* ends \d+ bytes early"):
        reader.read(entry, 0)


class FewBytes(io.FileIO):
    """A file on a file system that gives no more than some bytes at a time."""

    def readinto(self, buffer: Any) -> int | None:
        return super().readinto(memoryview(buffer)[:1000])


class BadDisk(io.FileIO):
    def readinto(self, buffer: Any) -> int | None:
        raise OSError(errno.EIO, "Input/output error")


def test_reads_that_give_less_are_continued_and_failing_ones_named(tmp_path, monkeypatch):
    path = tmp_path / "x.parquet"
    images, files = write(path), OpenFiles(tmp_path)
    monkeypatch.setattr(files, "source", lambda entry: FewBytes(path))
    assert np.array_equal(RawPages(files, "image", ROW_BYTES).read(entry_of(path), 0), images[:1000])
    monkeypatch.setattr(files, "source", lambda entry: BadDisk(path))
    with pytest.raises(DataError, match=r"x\.parquet, row group 0 cannot be read: .*Input/output error"):
        RawPages(files, "image", ROW_BYTES).read(entry_of(path), 0)


def test_a_file_that_is_not_the_manifests_is_named_and_few_are_open(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "MAX_OPEN_FILES", 2)
    files, found = OpenFiles(tmp_path), []
    for number in range(4):
        path = tmp_path / f"{number}.parquet"
        write(path)
        RawPages(files, "image", ROW_BYTES).read(entry_of(path), 1)
        found.append(files.source(entry_of(path)))
    assert [source.closed for source in found] == [True, True, False, False]
    entry = entry_of(path)
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    with pytest.raises(
        DataError, match=r"3\.parquet has a footer of SHA-256 .*, the manifest says .*; the file is dam"
    ):
        OpenFiles(tmp_path).file(entry)
    path.unlink()
    for open_it in (OpenFiles(tmp_path).file, OpenFiles(tmp_path).source):
        with pytest.raises(DataError, match=r"3\.parquet is listed in the manifest but does not exist"):
            open_it(entry)
