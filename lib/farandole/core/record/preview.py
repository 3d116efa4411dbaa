"""A record that was rejected, as far as it can be shown: small, by the same bounded decoder that judged it."""

import numpy as np

from farandole.config.data import Image as ImageRules
from farandole.core.record.image import decode, from_array
from farandole.core.record.quality import RejectedError

SIDE_PIXELS = 96
"""Height and width of a preview."""
MAX_PREVIEW_PIXELS = 64_000_000
"""Pictures of more pixels are not shown, whatever image.max_pixels allows: a report is made in one process."""
MAX_PREVIEW_BYTES = 64 * 1024 * 1024
"""Nor are larger files."""


def preview_rules(rules: ImageRules) -> ImageRules:
    """Rules that show what `rules` reject for its size or its colour, but decode nothing larger than they do."""
    return ImageRules(
        height=SIDE_PIXELS,
        width=SIDE_PIXELS,
        channels=3,
        resize="pad",
        min_side_pixels=1,
        reject_blank=False,
        max_pixels=min(rules.max_pixels, MAX_PREVIEW_PIXELS),
        max_file_bytes=min(rules.max_file_bytes, MAX_PREVIEW_BYTES),
    )


def preview(record: bytes | np.ndarray, rules: ImageRules) -> np.ndarray | None:
    """The picture of a record, uint8 [SIDE_PIXELS, SIDE_PIXELS, 3]; None where no bounded decoder gives one.

    Args:
        record: encoded, or an array as `from_array` takes it.
        rules: of preview_rules.
    """
    try:
        return decode(record, rules) if isinstance(record, bytes) else from_array(record, rules)
    except RejectedError:
        return None
