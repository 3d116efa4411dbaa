"""Pages of a Parquet file that is put together here, byte by byte, and damaged."""

import io
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from farandole.core.dataset.page_checksums import check_pages
from farandole.errors import DataError

PAGES = [b"first page", b"second" * 100, b"x"]


def varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


def zigzag(value: int) -> bytes:
    return varint(value << 1 if value >= 0 else (-value << 1) - 1)


def header(size: int, crc: int | None) -> bytes:
    """type = 0, both sizes, the CRC as a signed integer, and a data page header of every type that there is."""
    signed = None if crc is None else crc - 2**32 if crc >= 2**31 else crc
    start = b"\x15\0" + 2 * (b"\x15" + zigzag(size)) + (b"" if signed is None else b"\x15" + zigzag(signed))
    inner = b"\x15\x04" + b"\x11" + b"\x12" + b"\x13\x07" + b"\x17" + b"\0" * 8 + b"\x18\x03abc" + b"\x19\x25\x02\x04"
    inner += b"\x19\xf1\x14" + b"\x01" * 20 + b"\x1c\0" + b"\x05" + zigzag(20) + b"\x02" + b"\0"
    return start + (b"\x2c" if signed is None else b"\x1c") + inner + b"\0"


def check(chunk: bytes, columns: list[str], *, dictionary: int | None = None) -> int:
    """Of a file whose row group has columns "image" and "list.element", both of this chunk."""
    column = {"dictionary_page_offset": dictionary, "data_page_offset": 4, "total_compressed_size": len(chunk)}
    names = ["image", "list.element"]
    group = SimpleNamespace(num_columns=2, column=lambda index: SimpleNamespace(path_in_schema=names[index], **column))
    metadata: Any = SimpleNamespace(row_group=lambda index: group)
    return check_pages(Path("x.parquet"), io.BytesIO(b"PAR1" + chunk), metadata, 2, columns)


def chunk_of(pages: list[bytes], *, with_crc: bool = True) -> bytes:
    return b"".join(header(len(page), zlib.crc32(page) if with_crc else None) + page for page in pages)


def test_whole_pages_are_counted() -> None:
    assert check(chunk_of(PAGES), ["image", "label"]) == 3
    assert check(chunk_of(PAGES), ["image", "list"]) == 6
    assert check(chunk_of(PAGES), ["element"]) == 0
    assert check(chunk_of(PAGES), ["image"], dictionary=0) == 3  # as some writers say where there is none


def test_pages_without_a_checksum_are_passed_over() -> None:
    assert check(chunk_of(PAGES, with_crc=False), ["image"]) == 0


def test_every_flipped_bit_of_a_page_is_named() -> None:
    chunk = chunk_of(PAGES)
    start = chunk.index(PAGES[1])
    for at in (start, start + 299, start + 599):
        damaged = bytearray(chunk)
        damaged[at] ^= 4
        with pytest.raises(DataError, match=r"x.parquet, row group 2, column 'image': the page at byte \d+ has CRC"):
            check(bytes(damaged), ["image"])


@pytest.mark.parametrize(
    ("chunk", "message"),
    [
        (header(100, 0) + b"short", "the page at byte 4 says that it has 100 bytes; the file is damaged"),
        (b"\x15\0\0", "the page at byte 4 says that it has None bytes"),
        (header(1, 0)[:-9], "the page at byte 4 has a header without an end"),
        (b"\x19\xff" + varint(2**60) + b"\0", "the page at byte 4 has a header without an end"),
        (b"\x1d\0", "the page at byte 4 has a header that cannot be read"),
        (b"\x15" + b"\xff" * 11, "the page at byte 4 has a header that cannot be read"),
        (b"\x1c" * 10_000, "the page at byte 4 has a header that cannot be read"),
    ],
)
def test_damaged_headers_are_named(chunk: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check(chunk, ["image"])


def test_a_header_may_be_long() -> None:
    page = b"page"
    long = header(len(page), zlib.crc32(page))[:-1] + b"\x18" + varint(5000) + b"s" * 5000 + b"\0"
    assert check(long + page, ["image"]) == 1
