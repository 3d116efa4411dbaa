"""Plain JPEGs go past Pillow, and nobody can tell from the pixels."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from farandole.config.data import Image as Rules
from farandole.core.record import image, plain_jpeg
from farandole.core.record.plain_jpeg import decode_plain
from farandole.core.record.quality import RejectedError


def jpeg(width: int, height: int, mode: str = "RGB", **options: Any) -> bytes:
    noise = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Pillow.fromarray(noise).convert(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("size", [(16, 16), (31, 17), (63, 40), (1, 9), (45, 100), (46, 47), (113, 92), (190, 185)])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_pixels_are_pillows(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], mode: str, subsampling: int, channels: int
) -> None:
    data = jpeg(*size, mode, subsampling=subsampling, quality=80)
    rules = Rules(height=16, width=16, channels=channels, min_side_pixels=1)
    assert decode_plain(data, rules) is not None
    fast = image.decode(data, rules)
    monkeypatch.setattr(image, "decode_plain", lambda data, rules: None)
    assert np.array_equal(fast, image.decode(data, rules))


def test_all_that_is_not_plain_is_left_to_pillow() -> None:
    rules = Rules(height=8, width=8)
    plain, exif = jpeg(8, 8), Pillow.Exif()
    exif[0x0112] = 6
    assert decode_plain(plain, rules) is not None
    others = {
        "another format": b"\x89PNG" + plain,
        "an orientation": jpeg(8, 8, exif=exif),
        "four colours": jpeg(8, 8, "CMYK"),
        "a colour profile": jpeg(8, 8, icc_profile=b"x" * 100),
        "progressive": jpeg(8, 8, progressive=True),
        "cut off": plain[:-20],
        "cut in its header": plain[:40],
        "nothing but a start": plain[:20],
        "bytes between segments": plain[:20] + b"\0" + plain[20:],
        "twelve bits": plain.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"),
        "RGB components": plain.replace(b"\x03\x01\x22\0\x02\x11\x01\x03\x11\x01", b"\x03R\x22\0G\x11\x01B\x11\x01"),
    }
    assert {name: decode_plain(data, rules) for name, data in others.items()} == dict.fromkeys(others)


@pytest.mark.parametrize(
    ("size", "decoded"),
    [
        ((45, 45), (45, 45)),
        ((46, 46), (23, 23)),
        ((45, 400), (45, 400)),
        ((184, 91), (92, 46)),
        ((99, 92), (25, 23)),
        ((400, 400), (50, 50)),
    ],
)
def test_a_large_one_is_decoded_at_a_smaller_scale(size: tuple[int, int], decoded: tuple[int, int]) -> None:
    pixels = decode_plain(jpeg(*size), Rules(height=16, width=8))  # 1.4 * 16 are 23 after rounding up
    assert pixels is not None
    assert pixels.shape == (decoded[1], decoded[0], 3)


def test_a_huge_one_is_left_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_jpeg, "MAX_PIXELS", 20 * 30)
    rules = Rules(height=16, width=16)
    assert decode_plain(jpeg(20, 30), rules) is not None
    assert decode_plain(jpeg(20, 31), rules) is None


def test_a_damaged_scan_is_judged_by_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = Rules(height=16, width=16)
    data = bytearray(jpeg(16, 16))
    data[-30:-20] = b"\xff\xd0\xff\xd1\xff\xd2\xff\xd3\xff\xd4"
    assert decode_plain(bytes(data), rules) is None


def test_sizes_are_judged_by_the_header() -> None:
    with pytest.raises(RejectedError, match=r"too_large: 20 x 10 pixels, above image.max_pixels = 100"):
        decode_plain(jpeg(20, 10), Rules(max_pixels=100))
    with pytest.raises(RejectedError, match=r"too_small: 20 x 10 pixels, a side below image.min_side_pixels = 11"):
        decode_plain(jpeg(20, 10), Rules(min_side_pixels=11))
