"""Raw images straight from the pages of a Parquet file, to where they are wanted.

Arrow reads a whole column of a row group into fresh memory and copies every value once more into an array. A plain page
is the values themselves, each behind its length (https://github.com/apache/parquet-format, Encodings.md, "PLAIN"), so
the rows that are wanted can be found by arithmetic and copied once, through a buffer that stays in the cache.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow.parquet as pq

from farandole.core.dataset.manifest import FileEntry
from farandole.core.dataset.page_header import COMPRESSED_SIZE, read_header
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
_BUFFER_BYTES = 512 * 1024
"""How much is read at a time, before it is copied: little enough to stay in the processor's cache."""


@dataclass(frozen=True)
class Pages:
    """Where the images of one row group lie."""

    name: str
    """The file and the row group, as messages call them."""
    source: BinaryIO
    """The file, open for reading."""
    places: np.ndarray
    """int64 [pages + 1, 2]: the first row of each page and the byte of the file at which its values start, then the
    number of rows and 0."""


class RawPages:
    """Reads images of one size, in one thread at a time."""

    def __init__(self, files: OpenFiles, row_bytes: int) -> None:
        self._files = files
        stride = _LENGTH_BYTES + row_bytes
        self._buffer = np.empty((max(1, _BUFFER_BYTES // stride), stride), np.uint8)
        self._length = np.frombuffer(row_bytes.to_bytes(_LENGTH_BYTES, "little"), np.uint8)
        self._known: WeakKeyDictionary[BinaryIO, dict[int, np.ndarray | None]] = WeakKeyDictionary()

    def find(self, entry: FileEntry, row_group: int) -> Pages | None:
        """The pages of a row group of a file; None if images are stored in another way than in plain pages.

        Raises:
            DataError: the file is not what the manifest says, or a page's header cannot be read; names the file.
        """
        footer, source = self._files.file(entry).metadata, self._files.source(entry)
        known = self._known.setdefault(source, {})  # while the file is open
        name = f"{self._files.root / entry.path}, row group {row_group}"
        if row_group not in known:
            with _reading(name):
                known[row_group] = find_places(name, source, footer, row_group, self._buffer.shape[1] - _LENGTH_BYTES)
        places = known[row_group]
        return None if places is None else Pages(name, source, places)

    def copy(self, pages: Pages, first: int, out: np.ndarray) -> None:
        """Copies images from number `first` of a row group on.

        Args:
            pages: of the row group, as just found.
            first: counted from the row group's start.
            out: uint8 [n, ...], contiguous; n images are copied.

        Raises:
            DataError: the file cannot be read, or has changed since its pages were found; names it.
        """
        most, stride = self._buffer.shape
        rows, at = out.reshape(len(out), stride - _LENGTH_BYTES), 0
        while at < len(rows):
            page = int(np.searchsorted(pages.places[:, 0], first + at, side="right")) - 1
            start, values_at = pages.places[page].tolist()
            taken = self._buffer[: min(most, len(rows) - at, int(pages.places[page + 1, 0]) - first - at)]
            with _reading(pages.name):
                pages.source.seek(values_at + (first + at - start) * stride)
                is_full = _fill(taken, pages.source)
            if not is_full or (taken[:, :_LENGTH_BYTES] != self._length).any():
                raise DataError(f"{pages.name} has changed since it was opened; run again when nobody changes it")
            rows[at : at + len(taken)] = taken[:, _LENGTH_BYTES:]
            at += len(taken)


def find_places(
    name: str, source: BinaryIO, footer: pq.FileMetaData, row_group: int, row_bytes: int
) -> np.ndarray | None:
    """The pages of a row group as `Pages.places`; None if its images are not in plain pages, or not of one size.

    Args:
        name: of the file and the row group, for messages.
        source: the open file.
        footer: of the file.
        row_group: its number.
        row_bytes: of an image.

    Raises:
        DataError: a page's header cannot be read.
    """
    group, stride = footer.row_group(row_group), _LENGTH_BYTES + row_bytes
    index = [group.column(i).path_in_schema for i in range(group.num_columns)].index("image")
    chunk, levels = group.column(index), footer.schema.column(index)
    optional = levels.max_definition_level or levels.max_repetition_level
    if optional or chunk.compression != "UNCOMPRESSED" or chunk.has_dictionary_page:
        return None
    found, row, at = [], 0, chunk.data_page_offset
    while row < group.num_rows:
        fields, header_bytes = read_header(f"{name}, column 'image'", source, at)
        values = fields.get(_DATA_PAGE_HEADER)
        num_rows = values.get(_NUM_VALUES, 0) if values else 0
        is_plain = fields.get(_TYPE) == _DATA_PAGE and values and values.get(_ENCODING) == _PLAIN
        if not is_plain or num_rows < 1 or fields.get(COMPRESSED_SIZE) != num_rows * stride:
            return None
        found.append((row, at + header_bytes))
        row, at = row + num_rows, at + header_bytes + num_rows * stride
    return np.array([*found, (row, 0)], np.int64) if row == group.num_rows else None


def find_images(name: str, source: BinaryIO, footer: pq.FileMetaData, row_bytes: int) -> np.ndarray | None:
    """The byte of the file at which each image starts, int64 [rows of the file]; else as `find_places`."""
    stride, starts = _LENGTH_BYTES + row_bytes, [np.zeros(0, np.int64)]
    for row_group in range(footer.num_row_groups):
        places = find_places(f"{name}, row group {row_group}", source, footer, row_group, row_bytes)
        if places is None:
            return None
        num_rows = np.diff(places[:, 0])
        rows_before = np.arange(num_rows.sum()) - np.repeat(places[:-1, 0], num_rows)
        starts.append(np.repeat(places[:-1, 1], num_rows) + rows_before * stride + _LENGTH_BYTES)
    return np.concatenate(starts)


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error}") from error


def _fill(rows: np.ndarray, source: BinaryIO) -> bool:
    """Reads until the rows are full, which may take several reads on some file systems; False where the file ends."""
    missing = rows.reshape(-1).data
    while missing:
        num_read = source.readinto(missing)  # type: ignore[attr-defined]
        if not num_read:
            return False
        missing = missing[num_read:]
    return True
