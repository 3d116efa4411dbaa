"""The CRC32 of Parquet pages, where the writer stored one, as Spark and other users of parquet-mr do.

pyarrow 14 does not look at it, and after one flipped bit it gives other pixels, silently. The header of a page is a
Thrift struct in compact encoding: https://github.com/apache/parquet-format, README ("Checksumming") and parquet.thrift.
"""

import os
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow.parquet as pq

from farandole.errors import DataError

_COMPRESSED_SIZE, _CRC = 3, 4
"""Fields of PageHeader."""
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_INTEGERS = (4, 5, 6)
_HEADER_BYTES, _MAX_HEADER_BYTES = 256, 16 * 1024 * 1024
"""Read at first, and at most: statistics may hold values."""


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
        fields, header_bytes = _read_header(place, source, at)
        size, crc = fields.get(_COMPRESSED_SIZE), fields.get(_CRC)
        if not isinstance(size, int) or not 0 <= size <= stop - at - header_bytes:
            raise _damaged(place, at, f"says that it has {size} bytes")
        if not isinstance(crc, int):  # a writer stores them for all pages or for none
            return num_checked
        source.seek(at + header_bytes)
        found = zlib.crc32(source.read(size))
        if found != crc % 2**32:
            raise _damaged(place, at, f"has CRC32 {found:08x}, its header says {crc % 2**32:08x}")
        num_checked += 1
        at += header_bytes + size
    return num_checked


def _read_header(place: str, source: BinaryIO, at: int) -> tuple[dict[int, Any], int]:
    """Fields by number, and how long the header is."""
    num_bytes = _HEADER_BYTES
    while True:
        source.seek(at)
        data = source.read(num_bytes)
        try:
            return _struct(data, 0)
        except IndexError:
            if len(data) < num_bytes or num_bytes >= _MAX_HEADER_BYTES:
                raise _damaged(place, at, "has a header without an end") from None
            num_bytes *= 16
        except (ValueError, RecursionError):
            raise _damaged(place, at, "has a header that cannot be read") from None


def _damaged(place: str, at: int, what: str) -> DataError:
    return DataError(f"{place}: the page at byte {at} {what}; the file is damaged: replace or remove it")


def _struct(data: bytes, at: int) -> tuple[dict[int, Any], int]:
    """A Thrift struct that starts at `at`: its fields by number, and where it ends. IndexError: the data end before."""
    fields: dict[int, Any] = {}
    number = 0
    while data[at]:
        step, kind = data[at] >> 4, data[at] & 15
        number, at = (number + step, at + 1) if step else _integer(data, at + 1)
        fields[number], at = _value(data, at, kind)
    return fields, at + 1


def _value(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind in (_TRUE, _FALSE):
        return kind == _TRUE, at
    if kind in _INTEGERS:
        return _integer(data, at)
    if kind in (_BYTE, _DOUBLE):
        return None, at + (1 if kind == _BYTE else 8)
    if kind == _BINARY:
        size, at = _varint(data, at)
        return None, at + size
    if kind == _STRUCT:
        return _struct(data, at)
    if kind in (_LIST, _SET):
        size, kind = data[at] >> 4, data[at] & 15
        size, at = _varint(data, at + 1) if size == 15 else (size, at + 1)
        if at + size > len(data):  # every element takes a byte at least
            raise IndexError
        for _ in range(size):
            # A boolean in a list takes a byte, in a struct it is part of the field's head.
            _, at = (None, at + 1) if kind in (_TRUE, _FALSE) else _value(data, at, kind)
        return None, at
    raise ValueError(f"no Thrift type {kind}")


def _integer(data: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return (value >> 1) ^ -(value & 1), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if not data[at - 1] & 128:
            return value, at
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
