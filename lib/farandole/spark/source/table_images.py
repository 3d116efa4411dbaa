"""Images of a table's rows: encoded bytes, or pixels as lists of numbers."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from farandole.config.data import Data, Missing
from farandole.core.record.missing import repair_pixels
from farandole.core.record.quality import RejectedError


def image_loader(data: Data, missing: Missing, column: pa.ChunkedArray) -> Callable[[int], bytes | np.ndarray]:
    """A function from a position in an image column to encoded bytes, or pixels without NaN.

    The function raises RejectedError: missing_image, wrong_channels, nan_pixels or undecodable.
    """
    array = pa.concat_arrays(column.chunks)
    is_valid = array.is_valid().to_numpy(zero_copy_only=False)
    if not hasattr(array, "values"):  # no list: encoded bytes
        return lambda index: array[_checked(is_valid, index)].as_py()
    values, is_known = array.values, None
    if values.null_count and pa.types.is_integer(values.type):
        # Arrow would make floats of all images as soon as a pixel of one of them is null.
        is_known = values.is_valid().to_numpy(zero_copy_only=False)
        values = values.fill_null(0)
    values = values.to_numpy(zero_copy_only=False)  # a null float becomes NaN
    if pa.types.is_fixed_size_list(array.type):
        offsets = (np.arange(len(array) + 1) + array.offset) * array.type.list_size
    else:
        offsets = array.offsets.to_numpy()
    shape = data.pixel_shape

    def load(index: int) -> np.ndarray:
        _checked(is_valid, index)
        pixels = values[offsets[index] : offsets[index + 1]]
        if len(pixels) != np.prod(shape):
            raise RejectedError("wrong_channels", f"{len(pixels)} values; data.pixel_shape is {shape}")
        pixels = pixels.reshape(shape)
        if is_known is not None and not (known := is_known[offsets[index] : offsets[index + 1]]).all():
            repaired = repair_pixels(np.where(known.reshape(shape), pixels, np.nan), missing)
            pixels = np.rint(repaired)
        elif values.dtype.kind == "f":
            return repair_pixels(pixels, missing)
        is_open = bool(data.pixel_scale) and values.dtype != np.uint8
        return _as_integers(pixels, np.int32 if is_open else np.uint16 if values.dtype == np.uint16 else np.uint8)

    return load


def _checked(is_valid: np.ndarray, index: int) -> int:
    if not is_valid[index]:
        raise RejectedError("missing_image", "the image is null")
    return index


def _as_integers(pixels: np.ndarray, kind: type[np.integer]) -> np.ndarray:
    least, most, limit = pixels.min(), pixels.max(), np.iinfo(kind).max
    if least < 0 or most > limit:
        raise RejectedError("undecodable", f"integers of {least:.0f} to {most:.0f}; expected 0 to {limit}")
    return pixels.astype(kind, copy=False)
