"""Which number is white: one answer for all pictures of a source, never one for each.

Lists of numbers and files of floats or 16 bits do not say it. data.pixel_scale does; else it is decided by what all
pictures hold: they are counted as they are decoded, and decoded once more where another number was assumed.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from farandole.core.record.quality import RejectedError

CHOICES = {"floats": (1.0, 255.0), "integers": (255.0, 1023.0, 4095.0, 16383.0, 65535.0)}
"""Kind of numbers -> what can be white."""
OVERSHOOT = 1.25
"""Numbers up to so many times white, and as far below 0, are cut off: resizing by cubic curves leaves such."""
MAX_ABOVE = {"floats": 0.1, "integers": 0.01}
"""The share of pictures that may hold more. Floats: the choices are so far apart that a tenth is a mistake of the
pictures. Integers: next to none is given up for the contrast of the others."""
MIN_USED = 1 / 16
"""Of white: where all 16-bit numbers stay below, the upper bits are not used, and the picture would be black."""

_REMEDY = "data.pixel_scale says what is"

Seen = Counter[tuple[str, float]]
"""Pictures by the kind of their numbers, and the smallest choice that none of their numbers is above, else infinity."""


@dataclass(frozen=True)
class PixelScale:
    """The number that is white, by the kind of numbers."""

    floats: float = 1.0
    integers: float = 65535.0
    is_given: bool = False
    """By data.pixel_scale; it then holds for bytes in lists, too."""


ASSUMED = PixelScale()
"""What is taken until all pictures are known."""


def given_scale(pixel_scale: float) -> PixelScale:
    """By data.pixel_scale; 0 gives what is assumed."""
    return PixelScale(pixel_scale, pixel_scale, is_given=True) if pixel_scale else ASSUMED


def decide_scale(seen: Mapping[tuple[str, float], int]) -> PixelScale:
    """The smallest choice that all pictures fit but those that MAX_ABOVE allows; what is assumed for a kind of which
    there are none."""
    whites = {kind: getattr(ASSUMED, kind) for kind in CHOICES}
    for kind in {kind for kind, _ in seen}:
        total = sum(number for (found, _), number in seen.items() if found == kind)
        for white in reversed(CHOICES[kind]):
            above = sum(number for (found, least), number in seen.items() if found == kind and least > white)
            if white == CHOICES[kind][-1] or above <= MAX_ABOVE[kind] * total:
                whites[kind] = white
    return PixelScale(**whites)


def to_uint8(array: np.ndarray, scale: PixelScale, seen: Seen, white: float | None = None) -> np.ndarray:
    """Numbers of any kind as 0 to 255.

    Args:
        array: [height, width] or [height, width, channels] of uint8, uint16, uint32, int32 or a float type.
        scale: what is white.
        seen: where the picture is counted.
        white: what the file itself says, which goes before `scale`.

    Raises:
        RejectedError: wrong_channels for another type, nan_pixels, or undecodable where numbers are out of scale.
    """
    if array.dtype == np.uint8 and not scale.is_given:
        return array
    kind = "floats" if array.dtype.kind == "f" else "integers"
    if kind == "integers" and array.dtype not in (np.uint8, np.uint16, np.uint32, np.int32):
        raise RejectedError("wrong_channels", f"pixels of type {array.dtype}; expected uint8, uint16 or a float type")
    num_bad = int(array.size - np.isfinite(array).sum())
    if num_bad:
        raise RejectedError("nan_pixels", f"{num_bad} of {array.size} values are NaN or Inf")
    least, most = float(array.min()), float(array.max())
    is_open = white is None and not scale.is_given
    if is_open:
        limit = OVERSHOOT if kind == "floats" else 1
        seen[kind, next((choice for choice in CHOICES[kind] if most <= choice * limit), np.inf)] += 1
    white = white or getattr(scale, kind)
    overshoot = OVERSHOOT if kind == "floats" or scale.is_given else 1
    if least < -white * (overshoot - 1) or most > white * overshoot:
        raise RejectedError(
            "undecodable", f"values of {least:g} to {most:g}, out of scale where {white:g} is white; {_REMEDY}"
        )
    if is_open and least < most < white * MIN_USED and (kind == "integers" or _is_elsewhere(array, white)):
        numbers = "floats" if kind == "floats" else "16-bit numbers"
        raise RejectedError(
            "undecodable", f"{numbers} of {least:g} to {most:g}, nearly black where {white:g} is white; {_REMEDY}"
        )
    array = np.clip(array, 0, white)
    if white == 65535 and kind == "integers":
        return (array.astype(np.uint16) >> 8).astype(np.uint8)
    return np.rint(array * (255 / white)).astype(np.uint8)


def _is_elsewhere(array: np.ndarray, white: float) -> bool:
    """Whether floats that are nearly black on this scale are on another one: 0 to 1, or negative as well, as those of
    unit variance are. Whole ones were bytes, and dark."""
    fits_less = white > CHOICES["floats"][0] and (array.min() < 0 or array.max() <= OVERSHOOT)
    return bool(fits_less and (array != np.rint(array)).any())
