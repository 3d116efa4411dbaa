"""The header of a Parquet page: a Thrift struct in compact encoding, which pyarrow keeps to itself.

https://github.com/apache/parquet-format, parquet.thrift; https://github.com/apache/thrift, thrift-compact-protocol.md.
"""

from typing import Any, BinaryIO

from farandole.errors import DataError

COMPRESSED_SIZE = 3
"""Number of the field of the struct PageHeader in parquet.thrift that holds the bytes of the page behind the header."""
CRC = 4
"""The same of the CRC32 of these bytes, a signed number; a writer stores it for all pages or for none."""
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_INTEGERS = (4, 5, 6)
_HEADER_BYTES, _MAX_HEADER_BYTES = 256, 16 * 1024 * 1024
"""How much of a file is taken for a header at first, and at most: its statistics may hold long values."""


def read_header(place: str, source: BinaryIO, at: int) -> tuple[dict[int, Any], int]:
    """Fields by number, and how long the header is.

    Args:
        place: for messages.
        source: the open file.
        at: the byte of the file at which the page starts.

    Raises:
        DataError: there is no such header.
    """
    num_bytes = _HEADER_BYTES
    while True:
        source.seek(at)
        data = source.read(num_bytes)
        try:
            return _struct(data, 0)
        except IndexError:
            if len(data) < num_bytes or num_bytes >= _MAX_HEADER_BYTES:
                raise damaged(place, at, "has a header without an end") from None
            num_bytes *= 16
        except (ValueError, RecursionError):
            raise damaged(place, at, "has a header that cannot be read") from None


def number_of(fields: dict[int, Any], field: int) -> int | None:
    """The number that a field holds; None if there is none, or a flipped bit has made something else of it."""
    found = fields.get(field)
    return found if type(found) is int else None


def struct_of(fields: dict[int, Any], field: int) -> dict[int, Any]:
    """The fields of a struct in a field, as number_of; else no fields."""
    found = fields.get(field)
    return found if isinstance(found, dict) else {}


def damaged(place: str, at: int, what: str) -> DataError:
    """An error that says what is wrong with the page at a byte of a file."""
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
