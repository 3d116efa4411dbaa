"""Raw values of one size straight from the pages of a Parquet file, each compared with its CRC32 on the way.

Arrow reads a page into fresh memory, looks at its CRC32 if asked to, and copies every value once more into an array,
which takes more than twice the CPU. A plain page is the values themselves, each behind its length
(https://github.com/apache/parquet-format, Encodings.md, "PLAIN", and README.md, "Checksumming").
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow.parquet as pq
from isal.isal_zlib import crc32  # zlib's takes as long as all the rest of reading

from farandole.core.dataset.manifest import FileEntry
from farandole.core.dataset.page_header import COMPRESSED_SIZE, CRC, damaged, number_of, read_header, struct_of
from farandole.core.dataset.parquet import OpenFiles
from farandole.errors import DataError

_DATA_PAGE, _PLAIN = 0, 0
"""Values of the enums PageType and Encoding in parquet.thrift that a plain page has."""
_TYPE, _DATA_PAGE_HEADER = 1, 5
"""Numbers of two fields of the struct PageHeader in parquet.thrift."""
_NUM_VALUES, _ENCODING = 1, 2
"""Numbers of two fields of the struct DataPageHeader in parquet.thrift."""
_LENGTH_BYTES = 4
"""A value's length stands before it in so many bytes, little endian."""
_PIECE_BYTES = 256 * 1024
"""How much is read at a time, before its checksum is taken: little enough to stay in the processor's cache."""


@dataclass(frozen=True)
class Pages:
    """Where the values of a column lie in one row group, one entry a page, in order."""

    num_rows: np.ndarray
    """int64 [pages]."""
    starts: np.ndarray
    """int64 [pages]: the byte of the file at which the page's values start."""
    crcs: np.ndarray
    """int64 [pages]: CRC32 of the page's values, of 0 to 2**32 - 1; -1 where the writer stored none."""


class RawPages:
    """Reads a column whose values have one size, in one thread at a time."""

    def __init__(self, files: OpenFiles, column: str, row_bytes: int) -> None:
        self._files, self._column = files, column
        self._stride = _LENGTH_BYTES + row_bytes
        self._length = np.frombuffer(row_bytes.to_bytes(_LENGTH_BYTES, "little"), np.uint8)
        self._known: WeakKeyDictionary[BinaryIO, dict[int, Pages | None]] = WeakKeyDictionary()

    def read(self, entry: FileEntry, row_group: int) -> np.ndarray | None:
        """The values of a row group, uint8 [rows, bytes of a value], contiguous only value by value.

        None if they are stored in another way than in plain pages of values of this size.

        Raises:
            DataError: a page is not what its CRC32 says, has none, or cannot be read; names the file and the row group.
        """
        name, column = f"{self._files.root / entry.path}, row group {row_group}", self._column
        footer, source = self._files.file(entry).metadata, self._files.source(entry)
        known = self._known.setdefault(source, {})  # while the file is open
        with _reading(name):
            if row_group not in known:
                known[row_group] = find_pages(name, source, footer, row_group, column, self._stride - _LENGTH_BYTES)
            pages = known[row_group]
            if pages is None:
                return None
            stored = np.empty((entry.row_groups[row_group], self._stride), np.uint8)
            ends = np.cumsum(pages.num_rows)
            for rows, end, start, crc in zip(pages.num_rows, ends, pages.starts, pages.crcs, strict=True):
                _read_page(f"{name}, column {column!r}", source, int(start), int(crc), stored[end - rows : end])
        if (stored[:, :_LENGTH_BYTES] != self._length).any():
            raise DataError(f"{name} holds other sizes of {column!r} than {self._stride - _LENGTH_BYTES} bytes")
        return stored[:, _LENGTH_BYTES:]


def find_pages(
    name: str, source: BinaryIO, footer: pq.FileMetaData, row_group: int, column: str, row_bytes: int
) -> Pages | None:
    """The pages of a column in a row group; None if its values are not in plain pages, or not of this size.

    Args:
        name: of the file and the row group, for messages.
        source: the open file.
        footer: of the file.
        row_group: its number.
        column: its name.
        row_bytes: of a value.

    Raises:
        DataError: a page's header cannot be read.
    """
    group, stride = footer.row_group(row_group), _LENGTH_BYTES + row_bytes
    index = [group.column(i).path_in_schema for i in range(group.num_columns)].index(column)
    chunk, levels = group.column(index), footer.schema.column(index)
    optional = levels.max_definition_level or levels.max_repetition_level
    if optional or chunk.compression != "UNCOMPRESSED" or chunk.has_dictionary_page:
        return None
    found, row, at = [], 0, chunk.data_page_offset
    while row < group.num_rows:
        fields, header_bytes = read_header(f"{name}, column {column!r}", source, at)
        values = struct_of(fields, _DATA_PAGE_HEADER)
        num_rows = number_of(values, _NUM_VALUES) or 0
        is_plain = number_of(fields, _TYPE) == _DATA_PAGE and number_of(values, _ENCODING) == _PLAIN
        if not is_plain or num_rows < 1 or number_of(fields, COMPRESSED_SIZE) != num_rows * stride:
            return None
        crc = number_of(fields, CRC)
        found.append((num_rows, at + header_bytes, -1 if crc is None else crc % 2**32))
        row, at = row + num_rows, at + header_bytes + num_rows * stride
    return Pages(*np.array(found, np.int64).reshape(-1, 3).T) if row == group.num_rows else None


def find_values(name: str, source: BinaryIO, footer: pq.FileMetaData, column: str, row_bytes: int) -> np.ndarray | None:
    """The byte of the file at which each value starts, int64 [rows of the file]; else as `find_pages`."""
    stride, starts = _LENGTH_BYTES + row_bytes, [np.zeros(0, np.int64)]
    for row_group in range(footer.num_row_groups):
        pages = find_pages(f"{name}, row group {row_group}", source, footer, row_group, column, row_bytes)
        if pages is None:
            return None
        first = np.cumsum(pages.num_rows) - pages.num_rows
        rows_before = np.arange(pages.num_rows.sum()) - np.repeat(first, pages.num_rows)
        starts.append(np.repeat(pages.starts, pages.num_rows) + rows_before * stride + _LENGTH_BYTES)
    return np.concatenate(starts)


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error}") from error


def _read_page(name: str, source: BinaryIO, start: int, crc: int, out: np.ndarray) -> None:
    """Fills out, uint8 [rows, stride], with the values of a page."""
    rest, found = out.reshape(-1).data, 0
    source.seek(start)
    while rest:
        num_read = source.readinto(rest[:_PIECE_BYTES])  # type: ignore[attr-defined]  # less on some file systems
        if not num_read:
            raise damaged(name, start, f"ends {len(rest)} bytes early")
        found = crc32(rest[:num_read], found)
        rest = rest[num_read:]
    if found != crc:
        says = "has none" if crc < 0 else f"says {crc:08x}"
        raise damaged(name, start, f"has CRC32 {found:08x}, its header {says}")
