"""Raw images straight from the pages of a Parquet file, to where they are wanted.

Arrow reads a whole column of a row group into fresh memory and copies every value once more into an array. A plain page
is the values themselves, each behind its length (https://github.com/apache/parquet-format, Encodings.md, "PLAIN"), so
the rows that are wanted can be found by arithmetic and copied once, through a buffer that stays in the cache.
"""

from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow.parquet as pq

from farandole.core.page_header import read_header
from farandole.errors import DataError

_DATA_PAGE, _PLAIN = 0, 0
"""Of the enums PageType and Encoding in parquet.thrift."""
_TYPE, _COMPRESSED_SIZE, _DATA_PAGE_HEADER = 1, 3, 5
"""Fields of PageHeader."""
_NUM_VALUES, _ENCODING = 1, 2
"""Fields of DataPageHeader."""
_LENGTH_BYTES = 4
"""Before every value, little endian."""
_BUFFER_BYTES = 512 * 1024


class RawPages:
    """Reads images of one size, in one thread at a time."""

    def __init__(self, row_bytes: int) -> None:
        stride = _LENGTH_BYTES + row_bytes
        self._buffer = np.empty((max(1, _BUFFER_BYTES // stride), stride), np.uint8)
        self._length = np.frombuffer(row_bytes.to_bytes(_LENGTH_BYTES, "little"), np.uint8)

    def find(self, path: Path, source: BinaryIO, file: pq.FileMetaData, row_group: int) -> np.ndarray | None:
        """Where the images of a row group lie: int64 [pages + 1, 2], the first row of each page and the byte of the
        file at which its values start, then the number of rows and 0. None if they are stored in another way.

        Raises:
            DataError: a page's header cannot be read; names the file.
        """
        group = file.row_group(row_group)
        index = [group.column(i).path_in_schema for i in range(group.num_columns)].index("image")
        chunk, levels = group.column(index), file.schema.column(index)
        optional = levels.max_definition_level or levels.max_repetition_level
        if optional or chunk.compression != "UNCOMPRESSED" or chunk.has_dictionary_page:
            return None
        found, row, at = [], 0, chunk.data_page_offset
        while row < group.num_rows:
            fields, header_bytes = read_header(f"{path}, row group {row_group}, column 'image'", source, at)
            values = fields.get(_DATA_PAGE_HEADER)
            num_rows = values.get(_NUM_VALUES, 0) if values else 0
            is_plain = fields.get(_TYPE) == _DATA_PAGE and values and values.get(_ENCODING) == _PLAIN
            if not is_plain or num_rows < 1 or fields.get(_COMPRESSED_SIZE) != num_rows * self._buffer.shape[1]:
                return None
            found.append((row, at + header_bytes))
            row, at = row + num_rows, at + header_bytes + num_rows * self._buffer.shape[1]
        return np.array([*found, (row, 0)], np.int64) if row == group.num_rows else None

    def copy(self, path: Path, source: BinaryIO, pages: np.ndarray, first: int, out: np.ndarray) -> None:
        """Copies images from number `first` of a row group on.

        Args:
            path: for messages.
            source: the file, unbuffered.
            pages: of the row group, from find().
            first: counted from the row group's start.
            out: uint8 [n, ...], contiguous; n images are copied.

        Raises:
            DataError: the file has changed since its pages were found; names it.
        """
        most, stride = self._buffer.shape
        rows, at = out.reshape(len(out), stride - _LENGTH_BYTES), 0
        while at < len(rows):
            page = int(np.searchsorted(pages[:, 0], first + at, side="right")) - 1
            start, values_at = pages[page].tolist()
            taken = self._buffer[: min(most, len(rows) - at, int(pages[page + 1, 0]) - first - at)]
            source.seek(values_at + (first + at - start) * stride)
            num_read = source.readinto(taken)  # type: ignore[attr-defined]
            if num_read != taken.nbytes or (taken[:, :_LENGTH_BYTES] != self._length).any():
                raise DataError(f"{path} has changed since it was opened; run again when nobody changes it")
            rows[at : at + len(taken)] = taken[:, _LENGTH_BYTES:]
            at += len(taken)
