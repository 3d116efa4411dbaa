"""Images of a table's rows: encoded bytes, or pixels as lists of numbers."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from farandole.config.data import Data, Missing
from farandole.core.record.missing import repair_pixels
from farandole.core.record.quality import RejectedError


def image_loader(data: Data, missing: Missing, column: pa.ChunkedArray) -> Callable[[int], bytes | np.ndarray]:
    """A function from a position in an image column to encoded bytes, or pixels without NaN.

    With data.pixel_shape, bytes are pixels of one byte each. Lists of lists have a shape of their own.

    The function raises RejectedError: missing_image, wrong_channels, nan_pixels or undecodable.
    """
    array = pa.concat_arrays(column.chunks)
    is_valid = array.is_valid().to_numpy(zero_copy_only=False)
    shape = data.pixel_shape
    if not hasattr(array, "values"):  # no list
        return lambda index: _bytes_or_pixels(array[_checked(is_valid, index)].as_py(), shape)
    levels, values = _levels(array)
    is_known = None
    if values.null_count and pa.types.is_integer(values.type):
        # Arrow would make floats of all images as soon as a pixel of one of them is null.
        is_known = values.is_valid().to_numpy(zero_copy_only=False)
        values = values.fill_null(0)
    values = values.to_numpy(zero_copy_only=False)  # a null float becomes NaN

    def load(index: int) -> np.ndarray:
        place, found = _place(levels, _checked(is_valid, index), shape)
        pixels = values[place].reshape(found)
        if is_known is not None and not (known := is_known[place]).all():
            repaired = repair_pixels(np.where(known.reshape(found), pixels, np.nan), missing)
            pixels = np.rint(repaired)
        elif values.dtype.kind == "f":
            return repair_pixels(pixels, missing)
        is_open = bool(data.pixel_scale) and values.dtype != np.uint8
        return _as_integers(pixels, np.int32 if is_open else np.uint16 if values.dtype == np.uint16 else np.uint8)

    return load


def _bytes_or_pixels(value: bytes, shape: list[int]) -> bytes | np.ndarray:
    if not shape:
        return value
    if len(value) != np.prod(shape):
        raise RejectedError(
            "wrong_channels",
            f"{len(value)} bytes; data.pixel_shape {shape} takes {np.prod(shape)}, one for each number; "
            f"remove it where these are encoded images",
        )
    return np.frombuffer(value, np.uint8).reshape(shape)


def _levels(array: pa.Array) -> tuple[list[np.ndarray], pa.Array]:
    """Where the lists of each level begin and end in the next one, and the numbers."""
    levels = []
    while hasattr(array, "values"):
        if pa.types.is_fixed_size_list(array.type):
            levels.append((np.arange(len(array) + 1) + array.offset) * array.type.list_size)
        else:
            levels.append(array.offsets.to_numpy())
        array = array.values
    return levels, array


def _place(levels: list[np.ndarray], index: int, shape: list[int]) -> tuple[slice, list[int]]:
    """Where the numbers of a picture are, and its shape: that of its lists, or `shape` where there is one list."""
    start, stop, found = index, index + 1, list[int]()
    for offsets in levels:
        lengths = np.diff(offsets[start : stop + 1])
        if len(set(lengths.tolist())) != 1:
            raise RejectedError("wrong_channels", "lists of unequal lengths, or empty ones")
        found.append(int(lengths[0]))
        start, stop = int(offsets[start]), int(offsets[stop])
    if len(levels) == 1 and stop - start != np.prod(shape):
        raise RejectedError("wrong_channels", f"{stop - start} values; data.pixel_shape is {shape}")
    if len(levels) > 1 and shape and found != shape:
        raise RejectedError("wrong_channels", f"lists of {found}; data.pixel_shape is {shape}")
    return slice(start, stop), shape if len(levels) == 1 else found


def _checked(is_valid: np.ndarray, index: int) -> int:
    if not is_valid[index]:
        raise RejectedError("missing_image", "the image is null")
    return index


def _as_integers(pixels: np.ndarray, kind: type[np.integer]) -> np.ndarray:
    least, most, limit = pixels.min(), pixels.max(), np.iinfo(kind).max
    if least < 0 or most > limit:
        raise RejectedError("undecodable", f"integers of {least:.0f} to {most:.0f}; expected 0 to {limit}")
    return pixels.astype(kind, copy=False)
