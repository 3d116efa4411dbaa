"""Every rule of core/record/image.py, on small pictures made here."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from farandole.config.data import Image as ImageRules
from farandole.core.record import image
from farandole.core.record.picture_file import FORMATS
from farandole.core.record.pixel_scale import given_scale
from farandole.core.record.quality import RejectedError

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (16, 24, 3), dtype=np.uint8)
SMOOTH = np.stack(np.meshgrid(np.arange(24) * 10, np.arange(16) * 15), axis=2).astype(np.uint8)
COLOUR = np.dstack([SMOOTH, 255 - SMOOTH[:, :, 0]])  # 16 x 24 x 3, survives JPEG


def rules(height: int = 16, width: int = 24, **options: Any) -> ImageRules:
    return ImageRules(height=height, width=width, **options)


def saved(picture: Image.Image | np.ndarray, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels to show for it."""

    def part(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(b"\0" * 64)) + part(b"IEND", b"")


def rejection(call: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(RejectedError) as caught:
        call()
    return caught.value.reason, caught.value.detail


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_give_the_very_pixels(file_format: str) -> None:
    assert np.array_equal(image.decode(saved(NOISE, file_format), rules()), NOISE)


@pytest.mark.parametrize("file_format", ["JPEG", "WEBP", "GIF"])
def test_lossy_formats_give_nearly_the_pixels(file_format: str) -> None:
    pixels = image.decode(saved(COLOUR, file_format), rules())
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - COLOUR).mean() < 12


@pytest.mark.parametrize("file_format", ["ICO", "TGA", "PCX", "SGI"])
def test_a_format_that_is_not_allowed_is_not_an_image(file_format: str) -> None:
    reason, detail = rejection(lambda: image.decode(saved(COLOUR, file_format), rules()))
    assert reason == "not_an_image"
    assert "JPEG, PNG, BMP, GIF, TIFF, WEBP, PPM" in detail


def test_text_is_not_an_image() -> None:
    assert rejection(lambda: image.decode(b"hello, I am no picture", rules())) == (
        "not_an_image",
        "starts with b'hello, I am no p'; allowed are JPEG, PNG, BMP, GIF, TIFF, WEBP, PPM",
    )


def test_no_bytes_are_a_missing_image() -> None:
    assert rejection(lambda: image.decode(b"", rules())) == ("missing_image", "the file is empty")


def test_too_many_bytes_are_refused_before_they_are_opened() -> None:
    assert rejection(lambda: image.decode(b"x" * 101, rules(max_file_bytes=100))) == (
        "too_large",
        "101 bytes, above image.max_file_bytes = 100",
    )


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("share", [0.4, 0.7, 0.95])
def test_bytes_that_end_early_are_truncated(file_format: str, share: float) -> None:
    data = saved(NOISE, file_format)
    assert rejection(lambda: image.decode(data[: int(len(data) * share)], rules()))[0] == "truncated"


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_bytes_that_are_wrong_in_the_middle_are_undecodable(file_format: str) -> None:
    data = bytearray(saved(NOISE, file_format))
    data[len(data) // 2 : len(data) // 2 + 200] = b"\xff\xd8" * 100
    assert rejection(lambda: image.decode(bytes(data), rules()))[0] == "undecodable"


def test_a_broken_header_is_undecodable_and_named() -> None:
    assert rejection(lambda: image.decode(b"II*\0" + b"\xff" * 50, rules())) == (
        "undecodable",
        "starts like a TIFF file, but its header cannot be read",
    )


def test_a_bomb_is_refused_by_its_header() -> None:
    reason, detail = rejection(lambda: image.decode(png_header(20_000, 20_000), rules()))
    assert reason == "too_large"
    assert "400000000 pixels" in detail
    assert rejection(lambda: image.decode(png_header(9_000, 8_000), rules())) == (
        "too_large",
        "9000 x 8000 pixels, above image.max_pixels = 64000000",
    )
    # Pillow warns between its two limits; with a higher limit of ours the pixels are wanted, and are not there.
    reason, _ = rejection(lambda: image.decode(png_header(10_000, 10_000), rules(max_pixels=200_000_000)))
    assert reason == "truncated"


def test_a_short_side_is_too_small() -> None:
    assert rejection(lambda: image.decode(saved(NOISE[:3], "PNG"), rules(min_side_pixels=4))) == (
        "too_small",
        "24 x 3 pixels, a side below image.min_side_pixels = 4",
    )


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied_once(file_format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    expected = {
        1: COLOUR,
        2: COLOUR[:, ::-1],
        3: COLOUR[::-1, ::-1],
        4: COLOUR[::-1],
        5: COLOUR.swapaxes(0, 1),
        6: np.rot90(COLOUR, 3),
        7: COLOUR[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(COLOUR),
    }[orientation]
    height, width = expected.shape[:2]
    pixels = image.decode(saved(COLOUR, file_format, exif=exif), rules(height, width))
    assert np.abs(pixels.astype(int) - expected).mean() < 12


def test_exif_that_cannot_be_parsed_counts_as_none() -> None:
    data = saved(COLOUR, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff broken")
    assert image.decode(data, rules()).shape == (16, 24, 3)


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_picture_of_several_is_taken(file_format: str) -> None:
    red, blue = (Image.new("RGB", (24, 16), name) for name in ("red", "blue"))
    ImageDraw.Draw(red).point((0, 0), "white")  # not blank
    pixels = image.decode(saved(red, file_format, save_all=True, append_images=[blue]), rules())
    assert pixels[8:, 12:].mean(axis=(0, 1)) == pytest.approx([255, 0, 0], abs=6)


def test_sixteen_bits_are_divided_by_256_not_clipped() -> None:
    values = np.arange(16 * 24, dtype=np.uint16).reshape(16, 24) * 170
    for data in (saved(values, "PNG"), saved(values, "TIFF"), saved(Image.fromarray(values.astype(np.int32)), "PPM")):
        assert np.array_equal(image.decode(data, rules(channels=1))[:, :, 0], values >> 8)


def test_integers_beyond_16_bits_are_undecodable() -> None:
    values = np.full((16, 24), 70_000, np.int32)
    assert rejection(lambda: image.decode(saved(values, "TIFF"), rules())) == (
        "undecodable",
        "values of 70000 to 70000, out of scale where 65535 is white; data.pixel_scale says what is",
    )


def test_white_is_one_number_for_all_floats() -> None:
    unit = np.linspace(0, 1, 16 * 24, dtype=np.float32).reshape(16, 24)
    expected = np.rint(unit * 255).astype(np.uint8)
    assert np.array_equal(image.decode(saved(unit, "TIFF"), rules(channels=1))[:, :, 0], expected)
    for white in (255, 4095):
        found = image.decode(saved(unit * white, "TIFF"), rules(channels=1), given_scale(white))[:, :, 0]
        assert np.abs(found.astype(int) - expected).max() <= (white == 4095)
    dark = image.decode(saved(unit * 9, "TIFF"), rules(channels=1), given_scale(255))
    assert dark.max() == 9


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_float_that_is_no_number_is_nan_pixels(value: float) -> None:
    values = np.linspace(0, 1, 16 * 24, dtype=np.float32).reshape(16, 24)
    values[3, 4] = value
    assert rejection(lambda: image.decode(saved(values, "TIFF"), rules())) == (
        "nan_pixels",
        "1 of 384 values are NaN or Inf",
    )


def test_floats_out_of_range_are_undecodable() -> None:
    values = np.array([[-1.0, 2.0], [3.0, 4.0]], np.float32)
    reason, detail = rejection(lambda: image.from_array(values, rules()))
    expected = "values of -1 to 4, out of scale where 1 is white; data.pixel_scale says what is"
    assert (reason, detail) == ("undecodable", expected)


def test_alpha_is_composed_over_white() -> None:
    picture = np.dstack([NOISE, np.full((16, 24), 255, np.uint8)])
    picture[:4, :, 3] = 0
    picture[4:8, :, 3] = 128
    pixels = image.decode(saved(picture, "PNG"), rules())
    assert (pixels[:4] == 255).all()
    assert np.abs(pixels[4:8].astype(int) - (NOISE[4:8] * (128 / 255) + 127)).max() <= 1
    assert np.array_equal(pixels[8:], NOISE[8:])


def test_gray_with_alpha_and_transparent_palettes_are_composed_too() -> None:
    gray = np.dstack([NOISE[:, :, 0], np.zeros((16, 24), np.uint8)])
    gray[8:, :, 1] = 255
    pixels = image.decode(saved(Image.fromarray(gray, "LA"), "PNG"), rules(channels=1))
    assert (pixels[:8] == 255).all()
    assert np.array_equal(pixels[8:, :, 0], NOISE[8:, :, 0])
    palette = Image.fromarray(np.tile(np.arange(24, dtype=np.uint8) % 2, (16, 1)), "P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    pixels = image.decode(saved(palette, "PNG", transparency=0), rules())
    assert pixels[0, :2].tolist() == [[255, 255, 255], [40, 50, 60]]


def test_palettes_and_single_bits_become_colours() -> None:
    palette = Image.fromarray(np.tile(np.arange(24, dtype=np.uint8) % 2, (16, 1)), "P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    assert image.decode(saved(palette, "PNG"), rules())[5, :2].tolist() == [[10, 20, 30], [40, 50, 60]]
    bits = Image.fromarray(NOISE[:, :, 0] > 127)
    assert np.array_equal(image.decode(saved(bits, "PNG"), rules(channels=1))[:, :, 0], (NOISE[:, :, 0] > 127) * 255)


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb(file_format: str) -> None:
    pixels = image.decode(saved(Image.fromarray(COLOUR).convert("CMYK"), file_format), rules())
    assert np.abs(pixels.astype(int) - COLOUR).mean() < 12


@pytest.mark.parametrize("mode", ["YCbCr", "LAB"])
def test_other_colour_spaces_become_rgb(mode: str) -> None:
    gray = Image.fromarray(NOISE[:, :, 0])
    neutral = Image.new("L", gray.size, 128)
    pixels = image.decode(saved(Image.merge(mode, (gray, neutral, neutral)), "TIFF"), rules())
    assert np.ptp(pixels.astype(int), axis=2).max() <= 6  # neutral stays neutral, as bright as before
    assert np.corrcoef(pixels[:, :, 0].ravel(), NOISE[:, :, 0].ravel())[0, 1] > 0.98


def test_gray_is_repeated_and_colour_becomes_luma() -> None:
    gray = image.decode(saved(NOISE[:, :, 0], "PNG"), rules(channels=3))
    assert all(np.array_equal(gray[:, :, channel], NOISE[:, :, 0]) for channel in range(3))
    luma = image.decode(saved(NOISE, "PNG"), rules(channels=1))
    assert luma.shape == (16, 24, 1)
    assert np.abs(luma[:, :, 0] - NOISE @ np.array([0.299, 0.587, 0.114])).max() <= 1


def test_stretch_fills_crop_cuts_and_pad_adds_black() -> None:
    bars = np.zeros((10, 30, 3), np.uint8)
    bars[:, :10], bars[:, 10:20], bars[:, 20:] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    bars[0, 15] = 9  # so that the middle is not blank
    data = saved(bars, "PNG")
    stretched, cropped, padded = (
        image.decode(data, rules(10, 10, resize=resize)) for resize in ("stretch", "crop", "pad")
    )
    assert (stretched[5, 0].tolist(), stretched[5, 9].tolist()) == ([250, 0, 0], [0, 0, 250])
    assert np.array_equal(cropped, bars[:, 10:20])
    assert (padded[:3] == 0).all()
    assert (padded[6:] == 0).all()
    assert padded[4, 1].tolist() == [250, 0, 0]


def test_a_large_jpeg_is_decoded_small_and_looks_the_same() -> None:
    large = Image.fromarray(COLOUR).resize((960, 640), Image.Resampling.BICUBIC)
    from_jpeg = image.decode(saved(large, "JPEG", quality=95), rules())
    from_png = image.decode(saved(large, "PNG"), rules())
    assert np.abs(from_jpeg.astype(int) - from_png).max() <= 8


def test_one_colour_is_blank_unless_it_is_wanted() -> None:
    data = saved(Image.new("RGB", (30, 10), (7, 8, 9)), "PNG")
    expected = ("blank", "every pixel is (7, 8, 9)")
    assert rejection(lambda: image.decode(data, rules())) == expected
    assert rejection(lambda: image.decode(data, rules(resize="pad"))) == expected  # the border does not save it
    assert (image.decode(data, rules(reject_blank=False)) == [7, 8, 9]).all()


def test_arrays_follow_the_same_rules() -> None:
    assert np.array_equal(image.from_array(NOISE, rules()), NOISE)
    assert np.array_equal(image.from_array(NOISE[:, :, :1], rules(channels=1)), NOISE[:, :, :1])
    assert np.array_equal(image.from_array(NOISE.astype(np.uint16) << 8, rules()), NOISE)
    assert np.array_equal(image.from_array(NOISE / 255, rules()), NOISE)
    transparent = np.dstack([NOISE, np.zeros((16, 24), np.uint8)])
    transparent[0, 0, 3] = 255
    assert (image.from_array(transparent, rules())[1:] == 255).all()


@pytest.mark.parametrize("shape", [(8,), (8, 8, 2), (8, 8, 5), (2, 8, 8, 3)])
def test_an_array_of_another_shape_is_wrong_channels(shape: tuple[int, ...]) -> None:
    reason, detail = rejection(lambda: image.from_array(np.zeros(shape, np.uint8), rules()))
    assert (reason, detail) == ("wrong_channels", f"an array of shape {list(shape)}; no rule makes it a picture")


def test_an_array_of_another_type_is_wrong_channels_and_an_empty_one_too_small() -> None:
    assert rejection(lambda: image.from_array(np.zeros((8, 8), np.int64), rules())) == (
        "wrong_channels",
        "pixels of type int64; expected uint8, uint16 or a float type",
    )
    assert rejection(lambda: image.from_array(np.zeros((0, 8), np.uint8), rules()))[0] == "too_small"


def test_encoding_raw_is_the_bytes_and_jpeg_can_be_read_back() -> None:
    assert image.encode(NOISE, rules()) == NOISE.tobytes()
    for channels, pixels in ((3, COLOUR), (1, COLOUR[:, :, :1])):
        data = image.encode(pixels, rules(channels=channels, encoding="jpeg"))
        assert np.abs(image.decode(data, rules(channels=channels)).astype(int) - pixels).mean() < 6


@pytest.mark.parametrize("error", [RecursionError("deep"), ValueError("odd"), KeyError("k"), SystemError("c")])
def test_whatever_a_decoder_raises_becomes_a_reason(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(Image, "open", lambda *_, **__: (_ for _ in ()).throw(error))
    reason, detail = rejection(lambda: image.decode(b"x", rules()))
    assert (reason, detail) == ("undecodable", f"{type(error).__name__}: {error}")


@pytest.mark.parametrize("error", [MemoryError(), KeyboardInterrupt()])
def test_lack_of_memory_and_interrupts_pass_through(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    monkeypatch.setattr(Image, "open", lambda *_, **__: (_ for _ in ()).throw(error))
    with pytest.raises(type(error)):
        image.decode(b"x", rules())


def test_details_hold_no_memory_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    message = "bad <_io.BytesIO object at 0x7f68969322f0>"
    monkeypatch.setattr(Image, "open", lambda *_, **__: (_ for _ in ()).throw(OSError(message)))
    assert rejection(lambda: image.decode(b"x", rules()))[1] == "OSError: bad <_io.BytesIO object>"


def test_an_unknown_reason_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="unknown quarantine reason 'ugly'; expected one of missing_image, "):
        RejectedError("ugly", "")
