"""What stands in files beside their pixels: one transparent colour, empty alpha, metadata that a decoder refuses."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from farandole.config.data import Image as ImageRules
from farandole.core.record import image
from farandole.core.record.quality import RejectedError
from picture_bytes import make_png, png_chunk

RULES = ImageRules(height=16, width=24)
RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (16, 24, 3), dtype=np.uint8)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_one_transparent_gray_is_white_at_any_depth(depth: int) -> None:
    values = RNG.integers(0, 2**depth, (16, 24))
    key = 2**depth // 3
    values[:, :12] = key
    values[0, 12] = key ^ 1  # differs in its lowest bit alone
    data = make_png(values, depth, 0, png_chunk(b"tRNS", struct.pack(">H", key)))
    found = image.decode(data, RULES.model_copy(update={"reject_blank": False}))[:, :, 1]
    shown = values >> 8 if depth == 16 else values * (255 // (2**depth - 1))
    assert np.array_equal(found, np.where(values == key, 255, shown))


@pytest.mark.parametrize("depth", [8, 16])
def test_one_transparent_colour_is_white_at_any_depth(depth: int) -> None:
    values = RNG.integers(0, 2**depth, (16, 24, 3))
    key = [2**depth // 3, 2**depth // 5, 7]
    values[:, :12] = key
    values[0, :3] = np.array(key) ^ np.eye(3, dtype=int)
    values[1, :12] = np.array(key) % 256  # on another scale
    data = make_png(values, depth, 2, png_chunk(b"tRNS", struct.pack(">HHH", *key)))
    is_clear = (values == key).all(axis=2)
    assert is_clear.sum() == (9 + 14 * 12 if depth == 16 else 9 + 15 * 12)
    expected = np.where(is_clear[:, :, None], 255, values >> (depth - 8))
    assert np.array_equal(image.decode(data, RULES), expected)
    turned = make_png(
        values, depth, 2, png_chunk(b"tRNS", struct.pack(">HHH", *key)) + png_chunk(b"eXIf", _exif(orientation=6))
    )
    upright = ImageRules(height=24, width=16)
    assert np.array_equal(image.decode(turned, upright), np.rot90(expected, 3))


def _exif(*, orientation: int) -> bytes:
    return b"MM\0*\0\0\0\x08" + struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)


LONG = b'{"nodes": [' + b'{"id": 1, "type": "loader"}, ' * 70_000 + b"]}"


@pytest.mark.parametrize("is_behind", [False, True])
@pytest.mark.parametrize(
    "extra",
    [
        png_chunk(b"zTXt", b"workflow\0\0" + zlib.compress(LONG)),
        png_chunk(b"iTXt", b"prompt\0\1\0\0\0" + zlib.compress(LONG)),
        png_chunk(b"tEXt", b"Software\0editor", crc=1),
        png_chunk(b"eXIf", b"nothing", crc=1),
        png_chunk(b"tRNS", b"\0", crc=1),
        png_chunk(b"tRNS", b"\0"),
        png_chunk(b"gAMA", b""),
        png_chunk(b"pHYs", b"\0"),
        png_chunk(b"zTXt", b"Comment\0\x07what is this"),
        png_chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(5_000_000))),
        png_chunk(b"acTL", b"\0"),
    ],
    ids=lambda extra: extra[4:8].decode() + str(len(extra)),
)
def test_metadata_of_a_png_costs_no_picture(extra: bytes, is_behind: bool) -> None:
    places: dict[str, Any] = {"after": extra} if is_behind else {"extra": extra}
    assert np.array_equal(image.decode(make_png(NOISE, 8, 2, **places), RULES), NOISE)


def test_what_a_rule_uses_is_kept_beside_metadata_that_is_refused() -> None:
    extra = png_chunk(b"zTXt", b"workflow\0\0" + zlib.compress(LONG)) + png_chunk(b"eXIf", _exif(orientation=3))
    key = tuple(NOISE[0, 0].tolist())
    extra += png_chunk(b"tRNS", struct.pack(">HHH", *key))
    expected = NOISE.copy()
    expected[0, 0] = 255
    assert np.array_equal(image.decode(make_png(NOISE, 8, 2, extra), RULES), expected[::-1, ::-1])
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="3"/></x:xmpmeta>'
    extra = png_chunk(b"tEXt", b"Software\0editor", crc=1) + png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    assert np.array_equal(image.decode(make_png(NOISE, 8, 2, extra), RULES), NOISE[::-1, ::-1])


@pytest.mark.parametrize(
    ("marker", "body"), [(0xE2, b"ICC_PROFILE\0"), (0xE2, b"ICC_PROFILE\0\1"), (0xE0, b"JFIF\0\1"), (0xEE, b"Adobe\0d")]
)
def test_metadata_of_a_jpeg_costs_no_picture(marker: int, body: bytes) -> None:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(NOISE).save(buffer, "JPEG", exif=exif)
    data = buffer.getvalue()
    broken = bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body
    assert np.array_equal(image.decode(data[:2] + broken + data[2:], RULES), image.decode(data, RULES))


@pytest.mark.parametrize(("kind", "value"), [(2, "<x:xmpmeta/>"), (4, 7)])
def test_metadata_of_a_tiff_costs_no_picture(kind: int, value: Any) -> None:
    buffer, fields = io.BytesIO(), TiffImagePlugin.ImageFileDirectory_v2()
    fields.tagtype[700] = kind
    fields[700] = value
    Image.fromarray(NOISE).save(buffer, "TIFF", tiffinfo=fields)
    assert np.array_equal(image.decode(buffer.getvalue(), RULES), NOISE)


def test_a_png_whose_pixels_are_wrong_stays_undecodable() -> None:
    data = make_png(NOISE, 8, 2, png_chunk(b"tEXt", b"Software\0editor", crc=1))
    at = data.index(b"IDAT") + 30
    with pytest.raises(RejectedError, match="undecodable"):
        image.decode(data[:at] + b"\xff" * 200 + data[at + 200 :], RULES)
    with pytest.raises(RejectedError, match="truncated"):
        image.decode(data[: len(data) // 2], RULES)


@pytest.mark.parametrize("is_empty", [True, False])
def test_alpha_of_a_bmp_that_is_0_all_over_is_none(is_empty: bool) -> None:
    alpha = np.zeros((16, 24), np.uint8)
    alpha[8:] = 0 if is_empty else 255
    pixels = np.dstack([NOISE[:, :, ::-1], alpha])[::-1].tobytes()
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs" + bytes(48)
    head = struct.pack("<IiiHHIIiiII", 108, 24, 16, 1, 32, 3, len(pixels), 0, 0, 0, 0) + masks
    data = b"BM" + struct.pack("<IHHI", 14 + len(head) + len(pixels), 0, 0, 14 + len(head)) + head + pixels
    found = image.decode(data, RULES)
    assert np.array_equal(found[8:], NOISE[8:])
    assert np.array_equal(found[:8], NOISE[:8] if is_empty else np.full_like(NOISE[:8], 255))


def test_alpha_of_a_png_is_meant() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.dstack([NOISE, np.zeros((16, 24), np.uint8)])).save(buffer, "PNG")
    with pytest.raises(RejectedError, match=r"blank: every pixel is \(255, 255, 255\)"):
        image.decode(buffer.getvalue(), RULES)
