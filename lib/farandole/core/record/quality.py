"""What a record must pass to be kept; one that fails is rejected with one of schema.REASONS, never repaired here."""

import numpy as np

from farandole.config.data import Image as ImageRules
from farandole.core.dataset.schema import REASONS


class RejectedError(Exception):
    """One record cannot be used. It never leaves a stage: the record goes to quarantine with this reason and detail."""

    def __init__(self, reason: str, detail: str) -> None:
        if reason not in REASONS:
            raise ValueError(f"unknown quarantine reason {reason!r}; expected one of {', '.join(REASONS)}")
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


def check_num_bytes(num_bytes: int, rules: ImageRules) -> None:
    """Refuses a file by its size alone, before it is read.

    Raises:
        RejectedError: missing_image for an empty file, too_large above image.max_file_bytes.
    """
    if num_bytes == 0:
        raise RejectedError("missing_image", "the file is empty")
    if num_bytes > rules.max_file_bytes:
        raise RejectedError("too_large", f"{num_bytes} bytes, above image.max_file_bytes = {rules.max_file_bytes}")


def check_size(width: int, height: int, rules: ImageRules) -> None:
    """Refuses a picture by what its header claims, in pixels, before one of them is decoded.

    Raises:
        RejectedError: too_large above image.max_pixels, too_small below image.min_side_pixels.
    """
    if width * height > rules.max_pixels:
        raise RejectedError("too_large", f"{width} x {height} pixels, above image.max_pixels = {rules.max_pixels}")
    if min(width, height) < rules.min_side_pixels:
        raise RejectedError(
            "too_small", f"{width} x {height} pixels, a side below image.min_side_pixels = {rules.min_side_pixels}"
        )


def check_not_blank(pixels: np.ndarray, rules: ImageRules) -> None:
    """Refuses a picture of one colour, uint8 [height, width, channels], where image.reject_blank says so.

    Raises:
        RejectedError: blank, with the colour.
    """
    first, last = pixels[0, 0], pixels[-1, -1]  # compared alone at first: most pictures end there
    if rules.reject_blank and first.tobytes() == last.tobytes() and bool((pixels == first).all()):
        raise RejectedError("blank", f"every pixel is {tuple(int(value) for value in pixels[0, 0])}")
