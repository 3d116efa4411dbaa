"""Numbers of more than 8 bits, and which of them is white: for all pictures alike, unless the file says it."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from farandole.config.data import Image as ImageRules
from farandole.core.record import image
from farandole.core.record.pixel_scale import ASSUMED, PixelScale, Seen, decide_scale, given_scale
from farandole.core.record.quality import RejectedError
from picture_bytes import make_png, make_tiff

RULES = ImageRules(height=16, width=24, channels=1)
COLOUR = ImageRules(height=16, width=24)
GRAY = np.random.default_rng(0).integers(0, 256, (16, 24))


def decode(data: bytes, **options: Any) -> np.ndarray:
    return image.decode(data, RULES, **options)[:, :, 0]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
def test_white_may_be_zero(kind: str, order: str) -> None:
    white = {"u1": 255, "u2": 65535, "f4": 1.0}[kind]
    numbers = GRAY / 255 * white
    as_seen = decode(make_tiff(numbers, kind, 1, order=order))
    assert np.array_equal(as_seen, GRAY)
    assert np.array_equal(decode(make_tiff(white - numbers, kind, 0, order=order)), GRAY)


def test_white_may_be_zero_in_a_compressed_file() -> None:
    buffer = io.BytesIO()
    inverted = Image.fromarray((65535 - GRAY * 257).astype(np.uint16))
    inverted.save(buffer, "TIFF", compression="tiff_lzw", tiffinfo={262: 0})
    assert np.array_equal(decode(buffer.getvalue()), GRAY)


def test_twelve_bits_are_scaled_by_what_the_header_says() -> None:
    found = decode(make_tiff(GRAY * 16 + 15, "u2", 1, bits=12))
    assert np.abs(found.astype(int) - GRAY).max() <= 1
    pgm = b"P5 24 16 1023\n" + (GRAY * 4).astype(">u2").tobytes()
    assert np.abs(decode(pgm).astype(int) - GRAY).max() <= 1


@pytest.mark.parametrize(("channels", "colour"), [(3, 2), (4, 6), (2, 4)])
def test_the_low_bytes_of_16_bit_colour_count(channels: int, colour: int) -> None:
    values = np.random.default_rng(1).integers(0, 1024, (16, 24, channels))
    alpha = channels in (2, 4)
    if alpha:
        values[:, :, -1] = 65535
    data, seen = make_png(values, 16, colour), Seen()
    with pytest.raises(RejectedError, match=r"undecodable: 16-bit numbers of .*, nearly black where 65535 is white"):
        image.decode(data, COLOUR, seen=seen)
    assert seen == {("integers", 1023.0): 1}
    found = image.decode(data, COLOUR, decide_scale(seen))
    shown = values[:, :, :-1] if alpha else values
    assert np.array_equal(found, np.broadcast_to(np.rint(shown * (255 / 1023)), (16, 24, 3)))
    high = make_png(np.where(values == 65535, 65535, values * 64), 16, colour)
    assert np.array_equal(image.decode(high, COLOUR), np.broadcast_to(shown * 64 >> 8, (16, 24, 3)))


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_low_bytes_of_a_colour_tiff_count(order: str) -> None:
    values = np.random.default_rng(1).integers(0, 4096, (16, 24, 3))
    data = make_tiff(values, "u2", 2, order=order)
    assert np.array_equal(image.decode(data, COLOUR, given_scale(4095)), np.rint(values * (255 / 4095)))


def test_integers_of_32_bits_may_have_no_sign() -> None:
    white, bright = 2**32 - 1, GRAY // 4 + 190
    assert np.array_equal(decode(make_tiff(GRAY * 16843009, "u4", 1), scale=given_scale(white)), GRAY)
    assert np.array_equal(decode(make_tiff(bright * 16843009, "u4", 1), scale=given_scale(white)), bright)
    with pytest.raises(
        RejectedError, match=r"undecodable: values of 0 to 4.29\d*e\+09, out of scale where 65535 is white"
    ):
        decode(make_tiff(GRAY * 16843009, "u4", 1))


@pytest.mark.parametrize("order", ["<", ">"])
def test_colours_may_lie_in_planes(order: str) -> None:
    values = np.random.default_rng(1).integers(0, 4096, (16, 24, 3))
    data = make_tiff(values, "u2", 2, order=order, in_planes=True)
    assert np.array_equal(image.decode(data, COLOUR, given_scale(4095)), np.rint(values * (255 / 4095)))
    assert np.array_equal(
        image.decode(make_tiff(values * 16, "u2", 2, order=order, in_planes=True), COLOUR), values >> 4
    )
    assert np.array_equal(
        image.decode(make_tiff(values >> 4, "u1", 2, order=order, in_planes=True), COLOUR), values >> 4
    )


def test_compressed_planes_are_refused_where_their_low_bytes_would_matter() -> None:
    values = np.random.default_rng(1).integers(0, 65536, (16, 24, 3))
    data = make_tiff(values, "u2", 2, in_planes=True, is_compressed=True)
    assert np.array_equal(image.decode(data, COLOUR), values >> 8)
    with pytest.raises(RejectedError, match=r"undecodable: 16-bit colours in compressed planes: .* they go to 15; "):
        image.decode(make_tiff(values >> 4, "u2", 2, in_planes=True, is_compressed=True), COLOUR)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("kind", "white"), [("u1", 255), ("u2", 65535), ("f4", 1.0)])
def test_one_plane_is_read_as_a_picture_without_planes(kind: str, white: float, order: str) -> None:
    numbers = GRAY / 255 * white
    assert np.array_equal(decode(make_tiff(numbers, kind, 1, order=order, in_planes=True)), GRAY)
    assert np.array_equal(decode(make_tiff(white - numbers, kind, 0, order=order, in_planes=True)), GRAY)
    bits = make_tiff(GRAY < 128, "u1", 0, order=order, bits=1, in_planes=True)
    assert np.array_equal(decode(bits), np.where(GRAY < 128, 0, 255))


def test_16_bits_that_are_not_used_are_told() -> None:
    for top, detail in ((255, "0 to 255"), (4095, "0 to 4095")):
        values = np.linspace(0, top, 16 * 24).reshape(16, 24).astype(np.uint16)
        with pytest.raises(RejectedError) as caught:
            image.from_array(values, RULES)
        assert str(caught.value) == (
            f"undecodable: 16-bit numbers of {detail}, nearly black where 65535 is white; data.pixel_scale says what is"
        )
        assert image.from_array(values, RULES, given_scale(top)).max() == 255
        dark = RULES.model_copy(update={"reject_blank": False})
        assert image.from_array(values, dark, given_scale(65535)).max() == top >> 8  # because one says so
    with pytest.raises(RejectedError, match="blank"):
        image.from_array(np.zeros((16, 24), np.uint16), RULES)


def test_floats_that_use_nothing_of_255_are_told() -> None:
    to_255, noise = PixelScale(floats=255.0), np.random.default_rng(2).normal(size=(16, 24)).astype(np.float32)
    with pytest.raises(RejectedError, match=r"undecodable: floats of -.* to .*, nearly black where 255 is white; "):
        image.from_array(noise, RULES, to_255)
    with pytest.raises(RejectedError, match=r"undecodable: floats of 0 to 1, nearly black where 255 is white; "):
        image.from_array(GRAY.astype(np.float32) / 255, RULES, to_255)
    assert image.from_array(GRAY.astype(np.float32) / 255, RULES, given_scale(255)).max() == 1  # because one says so
    assert image.from_array((GRAY > 99).astype(np.float32), RULES, to_255).max() == 1  # dark bytes
    assert image.from_array(GRAY.astype(np.float32) / 25, RULES, to_255).max() == 10  # dark, and resized
    assert image.from_array(GRAY.astype(np.float32) / 5100, RULES).max() == 13  # dark, and the smallest scale there is


def test_overshoot_is_cut_off() -> None:
    unit = GRAY.astype(np.float32) / 255
    for least, most in ((-0.02, 1.02), (-0.2, 1.25)):
        values = unit.copy()
        values[0, :2] = least, most
        expected = GRAY.copy()
        expected[0, :2] = 0, 255
        assert np.array_equal(image.from_array(values, RULES)[:, :, 0], expected)
    for wrong in (-0.3, 1.3, 200):
        values[0, 0] = wrong
        with pytest.raises(RejectedError, match=r"undecodable: values of .*, out of scale where 1 is white"):
            image.from_array(values, RULES)


@pytest.mark.parametrize(
    ("kind", "counts", "white"),
    [
        ("floats", {1: 60}, 1),
        ("floats", {1: 91, 255: 9}, 1),
        ("floats", {1: 80, 255: 20}, 255),  # the dark pictures of a source that goes to 255
        ("floats", {1: 80, np.inf: 20}, 255),
        ("integers", {255: 20, 1023: 20, 4095: 20}, 4095),
        ("integers", {255: 60}, 255),
        ("integers", {4095: 199, 65535: 1}, 4095),
        ("integers", {4095: 95, 65535: 5}, 65535),
        ("integers", {16383: 5}, 16383),
    ],
)
def test_all_pictures_decide_what_is_white(kind: str, counts: dict[float, int], white: float) -> None:
    decided = decide_scale({(kind, least): number for least, number in counts.items()})
    assert decided == PixelScale(**{kind: white})
    assert decide_scale({}) == ASSUMED


def test_a_given_scale_holds_for_bytes_too() -> None:
    bits = (GRAY > 100).astype(np.uint8)
    assert np.array_equal(image.from_array(bits, RULES, given_scale(1))[:, :, 0], bits * 255)
    assert np.array_equal(image.from_array(GRAY.astype(np.uint8), RULES)[:, :, 0], GRAY)
