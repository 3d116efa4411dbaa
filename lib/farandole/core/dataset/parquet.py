"""Parquet files as farandole writes and reads them: planned row groups, verified as they are read.

Arrow returns other pixels, silently, after one flipped bit, unless it is asked to write a CRC32 of every page and to
look at it. It is asked to here, always; and a footer, which has none, is compared with its SHA-256 in the manifest. So
what is read is verified, and nothing is read only to be verified.
"""

import hashlib
import json
import os
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from farandole.core.dataset.manifest import FileEntry
from farandole.core.dataset.sample import Sample
from farandole.core.dataset.schema import CLASS_NAME
from farandole.core.fingerprint import file_sha256
from farandole.errors import DataError

MAX_OPEN_FILES = 128
"""How many files `OpenFiles` leaves open, of each of its two kinds; the usual limit of a process is 1,024 in all."""
MAX_FOOTERS = 64
"""How many footers of Parquet files a process keeps in memory, so that it does not parse them again."""
_footers: dict[tuple[Path, tuple[int, ...], str | None], pq.FileMetaData] = {}
_footers_lock = threading.Lock()


def write_rows(root: Path, path: str, schema: pa.Schema, row_groups: Iterable[pa.Table], sample: Sample) -> FileEntry:
    """As `write_file`, for clean/data and balanced/data, with what others need who read a file without its manifest.

    That is the column class_name, stored as a dictionary of the names that a row group has, and in the file's metadata
    of each large feature, such as image, image_shape, as [height, width, channels], image_dtype and image_encoding.
    """
    notes: dict[str, str] = {}
    for name, feature in sample.large.items():
        notes |= {f"{name}_shape": json.dumps(feature.shape), f"{name}_dtype": feature.dtype}
        notes[f"{name}_encoding"] = feature.stored
    if CLASS_NAME.name in schema.names:  # a side column
        return write_file(root, path, schema, row_groups, notes)
    names, classes = pa.array(sample.class_names, pa.string()), sample.classes
    named = (table.append_column(CLASS_NAME, names.take(table[classes].combine_chunks())) for table in row_groups)
    return write_file(root, path, schema.append(CLASS_NAME), named, notes)


def write_file(
    root: Path,
    path: str,
    schema: pa.Schema,
    row_groups: Iterable[pa.Table],
    notes: Mapping[str, str] = MappingProxyType({}),
) -> FileEntry:
    """Writes root/path, one row group per table, and returns its manifest entry. The bytes depend on the rows alone.

    `notes` become the file's own metadata. Written to a sibling and renamed, so that a task that Spark retries or runs
    twice leaves one whole file.
    """
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
    counts = []
    # Images do not compress and have no use for dictionaries or statistics; ids and labels do.
    small = [field.name for field in schema if not pa.types.is_binary(field.type)]
    with pq.ParquetWriter(
        partial,
        schema,
        compression={name: "zstd" if name in small else "none" for name in schema.names},
        use_dictionary=[name for name in small if name in ("label", "reason", "detail", "copy", "class_name")],
        write_statistics=[name for name in small if name != "class_name"],  # footers are read by every rank
        store_schema=False,
        write_page_checksum=True,
    ) as writer:
        for table in row_groups:
            if table.num_rows:
                writer.write_table(table.cast(schema), row_group_size=table.num_rows)
                counts.append(table.num_rows)
        writer.add_key_value_metadata(dict(notes))
    with partial.open("rb") as file:
        os.fsync(file.fileno())
        footer_sha256 = hashlib.sha256(footer_bytes(file)).hexdigest()
    entry = FileEntry(
        path=path,
        num_rows=sum(counts),
        num_bytes=partial.stat().st_size,
        sha256=file_sha256(partial),
        footer_sha256=footer_sha256,
        row_groups=counts,
    )
    partial.replace(target)
    return entry


def footer_bytes(source: BinaryIO) -> bytes:
    """What ends a Parquet file, from its metadata on; of any file, and not checked."""
    num_bytes = source.seek(0, os.SEEK_END)
    source.seek(max(num_bytes - 8, 0))
    length = int.from_bytes(source.read(4), "little")
    source.seek(max(num_bytes - 8 - length, 0))
    return source.read()


class OpenFiles:
    """The files of one data set, each opened when it is first asked for, in one thread at a time.

    Of each kind, the last MAX_OPEN_FILES stay open; a file that is asked for after that is opened again.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        """The data set's directory, which paths in its manifest are relative to."""
        self._files: dict[str, pq.ParquetFile] = {}
        self._sources: dict[str, BinaryIO] = {}

    def file(self, entry: FileEntry) -> pq.ParquetFile:
        """A file for Arrow, as from `open_file`."""
        return _last_used(self._files, entry.path, lambda: open_file(self.root, entry))

    def source(self, entry: FileEntry) -> BinaryIO:
        """The bytes of a file, unbuffered, for who verifies what is read of them.

        Raises:
            DataError: the file is gone, or cannot be opened.
        """
        return _last_used(self._sources, entry.path, lambda: open_source(self.root, entry))


def _last_used(opened: dict[str, Any], path: str, open_it: Callable[[], Any]) -> Any:
    found = opened.pop(path, None) or open_it()
    opened[path] = found  # the newest last
    if len(opened) > MAX_OPEN_FILES:
        opened.pop(next(iter(opened))).close()
    return found


def open_file(root: Path, entry: FileEntry) -> pq.ParquetFile:
    """Opens root/path, and compares its footer with the manifest; its pages are verified when they are read.

    A process keeps some footers: that of a file of a gigabyte takes longer to parse than a task takes to read its part
    of the file.

    Args:
        root: of the data set.
        entry: from its manifest.

    Raises:
        DataError: names the file, and what is wrong with it.
    """
    path = root / entry.path
    with _opening(path):
        file = _open(path, _identity(path), entry)
        found = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
    if found != entry.row_groups:
        raise DataError(f"{path} has row groups of {found} rows, the manifest says {entry.row_groups}")
    return file


def open_unlisted(path: Path) -> pq.ParquetFile:
    """Opens a file of ours that no manifest lists, as stages have between their tasks; its footer is kept, too.

    Errors are those of the system and of Arrow: Spark tries a task again after them, and not after a DataError.
    """
    return _open(path, _identity(path), None)


def open_source(root: Path, entry: FileEntry) -> BinaryIO:
    """Opens root/path for whoever reads its bytes, unbuffered, and verifies them."""
    path = root / entry.path
    with _opening(path):
        return path.open("rb", buffering=0)


def read_row_group(file: pq.ParquetFile, path: Path | str, index: int, columns: list[str]) -> pa.Table:
    """One row group of a file from open_file, as a table; its pages are compared with their CRC32.

    Raises:
        DataError: names the file and the row group.
    """
    try:
        return file.read_row_group(index, columns=columns, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}, row group {index}: {error}; the file is damaged") from error


@contextmanager
def _opening(path: Path) -> Iterator[None]:
    """Makes a DataError that names the file of what the system or Arrow say."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{path} is listed in the manifest but does not exist") from error
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} is not a readable Parquet file: {error}") from error


def _open(path: Path, identity: tuple[int, ...], entry: FileEntry | None) -> pq.ParquetFile:
    wanted = entry.footer_sha256 if entry else None
    footer = _footers.get((path, identity, wanted)) or _parse_footer(path, wanted)
    file = pq.ParquetFile(path, metadata=footer, memory_map=False, page_checksum_verification=True)
    with _footers_lock:
        _footers[path, identity, wanted] = _footers.pop((path, identity, wanted), footer)  # the newest last
        while len(_footers) > MAX_FOOTERS:
            del _footers[next(iter(_footers))]
    return file


def _parse_footer(path: Path, sha256: str | None) -> pq.FileMetaData:
    """The footer of a file, if it has this SHA-256; the bytes that are compared are those that are parsed."""
    with path.open("rb") as source:
        footer = footer_bytes(source)
    found = hashlib.sha256(footer).hexdigest()
    if sha256 not in (None, found):
        raise DataError(f"{path} has a footer of SHA-256 {found}, the manifest says {sha256}; the file is damaged")
    return pq.read_metadata(pa.BufferReader(footer))


def _identity(path: Path) -> tuple[int, int, int, int]:
    """Differs when the file was replaced or written to."""
    status = os.stat(path)
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
