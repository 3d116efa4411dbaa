"""The commonest picture, decoded at once: a baseline JPEG with a JFIF header and nothing else in it.

Pillow spends nine tenths of its time on a small one outside of libjpeg. Here libjpeg-turbo is called directly, where
nothing is left to a rule of core/record/image.py; all other files, and all that libjpeg has the least doubt about, are
left to Pillow, which gives the same pixels.
"""

import math

import numpy as np
import simplejpeg

from farandole.config.data import Image as ImageRules
from farandole.core.record.quality import check_size

MAX_PIXELS = 150_000_000
"""Images with more pixels are left to Pillow, which has a limit of its own."""
MIN_SHRUNK = 1.4
"""A JPEG is decoded at a smaller scale where both sides stay so many times as long as the longer one of the target. It
then differs from the whole picture, resized, by 42 dB (PSNR of photos), as bilinear from Lanczos resizing by 36."""
_START = b"\xff\xd8\xff\xe0\0\x10JFIF\0"
_DHT, _SOS, _DQT, _DRI, _BASELINE = 0xC4, 0xDA, 0xDB, 0xDD, 0xC0
_GRAY, _COLOUR = b"\x01", b"\x03"


def decode_plain(data: bytes, rules: ImageRules) -> np.ndarray | None:
    """The pixels of a plain JPEG: uint8 [height, width] or [height, width, 3], not yet resized; None for other files.

    A large one is decoded at 1/2, 1/4 or 1/8, as Pillow would with `draft` and sides of `least_side`.

    Raises:
        RejectedError: too_large or too_small, as its header says.
    """
    frame = _frame(data)
    if frame is None:
        return None
    height, width, is_gray = frame
    check_size(width, height, rules)
    if width * height > MAX_PIXELS:
        return None
    shrink = next(factor for factor in (8, 4, 2, 1) if factor <= max(min(width, height) // least_side(rules), 1))
    least = {"min_height": -(-height // shrink), "min_width": -(-width // shrink)}
    try:
        pixels = simplejpeg.decode_jpeg(data, "GRAY" if is_gray else "RGB", strict=True, **least)
    except ValueError:
        return None
    return pixels[:, :, 0] if is_gray else pixels


def least_side(rules: ImageRules) -> int:
    """Pixels, in both directions: right for every orientation and every kind of resize."""
    return math.ceil(MIN_SHRUNK * max(rules.height, rules.width))


def _frame(data: bytes) -> tuple[int, int, bool] | None:
    """Height, width, and whether it is gray, where nothing but tables stands before the scan."""
    if not data.startswith(_START):
        return None
    at, frame = 20, None
    while len(data) > at + 4 and data[at] == 0xFF:
        marker, num_bytes = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == _SOS:
            return frame
        if marker == _BASELINE and frame is None:
            frame = _size(data[at + 4 : at + 2 + num_bytes])
        elif marker not in (_DQT, _DHT, _DRI):
            return None
        at += 2 + num_bytes
    return None


def _size(segment: bytes) -> tuple[int, int, bool] | None:
    """Of a frame header with 8 bits per sample, and one component or three that JFIF takes for YCbCr."""
    height, width = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
    components = segment[5:6]
    if segment[:1] != b"\x08" or not height or not width or len(segment) != 6 + 3 * (components or b"\0")[0]:
        return None
    if components == _COLOUR and segment[6::3] == b"\x01\x02\x03":
        return height, width, False
    return (height, width, True) if components == _GRAY else None
