"""Headers of Parquet pages that are put together here, byte by byte, and damaged."""

import io

import pytest

from farandole.core.dataset.page_header import COMPRESSED_SIZE, CRC, read_header
from farandole.errors import DataError


def varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


def zigzag(value: int) -> bytes:
    return varint(value << 1 if value >= 0 else (-value << 1) - 1)


def header(size: int, crc: int | None) -> bytes:
    """type = 0, both sizes, the CRC, and a data page header of every type that there is."""
    start = b"\x15\0" + 2 * (b"\x15" + zigzag(size)) + (b"" if crc is None else b"\x15" + zigzag(crc))
    inner = b"\x15\x04" + b"\x11" + b"\x12" + b"\x13\x07" + b"\x17" + b"\0" * 8 + b"\x18\x03abc" + b"\x19\x25\x02\x04"
    inner += b"\x19\xf1\x14" + b"\x01" * 20 + b"\x1c\0" + b"\x05" + zigzag(20) + b"\x02" + b"\0"
    return start + (b"\x2c" if crc is None else b"\x1c") + inner + b"\0"


@pytest.mark.parametrize("crc", [0, 1, 2**31 - 1, -(2**31), None])
@pytest.mark.parametrize("size", [0, 4, 2**31 - 1])
def test_sizes_and_checksums_are_found_among_fields_of_every_kind(size: int, crc: int | None) -> None:
    data = header(size, crc)
    fields, num_bytes = read_header("x", io.BytesIO(b"PAR1" + data + b"page"), 4)
    assert (fields[COMPRESSED_SIZE], fields.get(CRC)) == (size, crc)
    assert num_bytes == len(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (header(1, 0)[:-9], "the page at byte 4 has a header without an end"),
        (b"\x19\xff" + varint(2**60) + b"\0", "the page at byte 4 has a header without an end"),
        (b"\x1d\0", "the page at byte 4 has a header that cannot be read"),
        (b"\x15" + b"\xff" * 11, "the page at byte 4 has a header that cannot be read"),
        (b"\x1c" * 10_000, "the page at byte 4 has a header that cannot be read"),
    ],
)
def test_damaged_headers_are_named(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=f"x.parquet, row group 2: {message}; the file is damaged"):
        read_header("x.parquet, row group 2", io.BytesIO(b"PAR1" + data), 4)


def test_a_header_may_be_long() -> None:
    long = header(4, 7)[:-1] + b"\x18" + varint(5000) + b"s" * 5000 + b"\0"
    fields, num_bytes = read_header("x", io.BytesIO(long + b"page"), 0)
    assert (fields[COMPRESSED_SIZE], fields[CRC], num_bytes) == (4, 7, len(long))
