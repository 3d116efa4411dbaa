"""The CRC32 of Parquet pages, where the writer stored one, as Spark and other users of parquet-mr do.

Unless it is asked to, pyarrow does not look at it, and after one flipped bit it gives other pixels, silently. See
https://github.com/apache/parquet-format, README, "Checksumming".
"""

import os
import zlib
from pathlib import Path
from typing import BinaryIO

import pyarrow.parquet as pq

from farandole.core.dataset.page_header import COMPRESSED_SIZE, damaged, read_header

_CRC = 4
"""Number of the field of the struct PageHeader in parquet.thrift that holds the checksum."""


def check_pages(path: Path, source: BinaryIO, metadata: pq.FileMetaData, row_group: int, columns: list[str]) -> int:
    """Compares the pages of some columns of a row group with their checksums, and returns how many had one.

    Args:
        path: for messages.
        source: the open file.
        metadata: its footer.
        row_group: counted from 0.
        columns: names of top-level columns.

    Raises:
        DataError: names the file, the row group, the column and the page.
    """
    group, num_checked = metadata.row_group(row_group), 0
    for index in range(group.num_columns):
        chunk = group.column(index)
        if chunk.path_in_schema.split(".")[0] in columns:
            start = chunk.data_page_offset
            if 0 < (chunk.dictionary_page_offset or 0) < start:  # some writers say 0 where there is none
                start = chunk.dictionary_page_offset
            stop = min(start + chunk.total_compressed_size, source.seek(0, os.SEEK_END))
            place = f"{path}, row group {row_group}, column {chunk.path_in_schema!r}"
            num_checked += _check_chunk(place, source, start, stop)
    return num_checked


def _check_chunk(place: str, source: BinaryIO, at: int, stop: int) -> int:
    num_checked = 0
    while at < stop:
        fields, header_bytes = read_header(place, source, at)
        size, crc = fields.get(COMPRESSED_SIZE), fields.get(_CRC)
        if not isinstance(size, int) or not 0 <= size <= stop - at - header_bytes:
            raise damaged(place, at, f"says that it has {size} bytes")
        if not isinstance(crc, int):  # a writer stores them for all pages or for none
            return num_checked
        source.seek(at + header_bytes)
        found = zlib.crc32(source.read(size))
        if found != crc % 2**32:
            raise damaged(place, at, f"has CRC32 {found:08x}, its header says {crc % 2**32:08x}")
        num_checked += 1
        at += header_bytes + size
    return num_checked
