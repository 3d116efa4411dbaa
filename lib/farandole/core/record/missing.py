"""What takes the place of missing values: statistics that do not depend on how rows are partitioned, and pixels.

Missing is null, and NaN where a column or an image holds floats.
"""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from farandole.config.data import Missing
from farandole.core.record.quality import RejectedError

_UNIT_BITS = 1074 + 53
"""Every double, taken as mantissa * 2**exponent with a whole mantissa, is a whole multiple of 2**-_UNIT_BITS."""
_NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
"""In a unit of time."""
_SIGN = np.uint64(2**63)


def to_64_bits(values: pa.ChunkedArray) -> np.ndarray:
    """Numbers without a null as float64, int64 or uint64 [n]: none of their digits is lost."""
    if pa.types.is_floating(values.type):
        return values.cast(pa.float64()).to_numpy()
    return values.cast(pa.uint64() if pa.types.is_unsigned_integer(values.type) else pa.int64()).to_numpy()


def order_type(kind: str) -> pa.DataType:
    """What holds the numbers of a column that interpolation goes along, exactly.

    Args:
        kind: its type, as `column_types.plain_type` names it.
    """
    return (
        pa.float64() if kind in ("float", "double") else pa.decimal128(30, 0)
    )  # all of uint64, and times in nanoseconds


def as_order(column: pa.ChunkedArray, kind: str) -> pa.ChunkedArray:
    """A column of numbers, dates or timestamps of any unit as `order_type` says; null for NaN and Inf, which have no
    distances."""
    if pa.types.is_timestamp(column.type):
        factor = pa.scalar(Decimal(_NANOSECONDS[column.type.unit]), pa.decimal128(10, 0))
        digits = column.cast(pa.int64()).cast(pa.decimal128(19, 0))
        return pc.multiply(digits, factor).cast(order_type(kind))
    numbers = as_numbers(column).cast(order_type(kind))
    if not pa.types.is_floating(numbers.type):
        return numbers
    return pc.if_else(pc.is_finite(numbers), numbers, pa.scalar(None, numbers.type))


Number = int | float | Decimal


def between(at: Number, left: tuple[Number, Number], right: tuple[Number, Number], *, is_whole: bool) -> int | float:
    """The value at `at`, linearly between two neighbours.

    Args:
        at: on the axis of orders.
        left, right: order and value.
        is_whole: the result is the nearest integer, halves the even one, worked out exactly; else a float.
    """
    at, first, last = (int(order) if isinstance(order, Decimal) else order for order in (at, left[0], right[0]))
    span, way = last - first, at - first  # of integers exactly: decimals are rounded to 28 digits
    if is_whole:
        share = Fraction(way) / Fraction(span) if span > 0 else Fraction(0)
        return round(Fraction(left[1]) + (Fraction(right[1]) - Fraction(left[1])) * share)
    part = float(way) / float(span) if span > 0 else 0.0
    return float(left[1]) + (float(right[1]) - float(left[1])) * part


def as_numbers(column: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    """Dates as days and timestamps as microseconds since 1970; other columns as they are."""
    column = pa.chunked_array([column]) if isinstance(column, pa.Array) else column
    if pa.types.is_date32(column.type):
        return column.cast(pa.int32())
    return column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column


def nan_to_null(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column with null for NaN."""
    if not pa.types.is_floating(column.type):
        return column
    return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)


def exact_sum(values: np.ndarray) -> int:
    """The sum of [n] float64, all finite, or integers as a whole number of 2**-1127: sums of parts add up without
    rounding."""
    if values.dtype.kind in "iu":
        return _sum_of_integers(values) << _UNIT_BITS
    mantissas, exponents = np.frexp(values)
    whole = np.ldexp(mantissas, 53).astype(np.int64)  # exact: a double has 53 bits
    total = 0
    for exponent in np.unique(exponents):
        total += _sum_of_integers(whole[exponents == exponent]) << (int(exponent) - 53 + _UNIT_BITS)
    return total


def _sum_of_integers(values: np.ndarray) -> int:
    """In halves of 32 bits each, so that 2**31 of them fit in 64."""
    return (int((values >> 32).sum()) << 32) + int((values & 0xFFFFFFFF).sum())


def mean_of(total: int, count: int) -> Fraction:
    """The exact mean of `count` values whose `exact_sum` is `total`."""
    return Fraction(total, count << _UNIT_BITS)


def ordered_keys(values: np.ndarray) -> np.ndarray:
    """float64, int64 or uint64 [n] -> uint64 [n] in the same order; -0.0 counts as 0.0."""
    if values.dtype.kind in "iu":
        return values if values.dtype.kind == "u" else values.view(np.uint64) ^ _SIGN
    bits = (values + 0.0).view(np.uint64)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def from_ordered_keys(keys: np.ndarray, kind: type[np.generic] = np.float64) -> np.ndarray:
    """The float64, int64 or uint64 [n] that `ordered_keys` made uint64 [n] of."""
    if kind != np.float64:
        return keys if kind == np.uint64 else (keys ^ _SIGN).view(np.int64)
    return np.where(keys & _SIGN, keys & ~_SIGN, ~keys).view(np.float64)


def round_to(value: Fraction, kind: pa.DataType) -> int | float:
    """The nearest number that a column of this type holds; halves go to the even integer."""
    return float(value) if pa.types.is_floating(kind) else round(value)


def repair_pixels(pixels: np.ndarray, rules: Missing) -> np.ndarray:
    """A float picture [height, width] or [height, width, channels] without NaN, by missing.pixels.

    Raises:
        RejectedError: nan_pixels, where the rule is drop, or a channel has no pixel left to go by.
    """
    gaps = np.isnan(pixels)
    if not gaps.any():
        return pixels
    if rules.pixels == "drop":
        raise RejectedError("nan_pixels", f"{int(gaps.sum())} of {gaps.size} values are NaN or null")
    if rules.pixels == "fill" and rules.pixel_value is not None:
        return np.where(gaps, pixels.dtype.type(rules.pixel_value), pixels)
    if gaps.all(axis=(0, 1)).any():
        raise RejectedError("nan_pixels", "all values of a channel are NaN or null; nothing to go by")
    if rules.pixels == "fill":
        return np.where(gaps, np.nanmean(pixels, axis=(0, 1), dtype=np.float64).astype(pixels.dtype), pixels)
    return interpolate_pixels(pixels)


def interpolate_pixels(pixels: np.ndarray) -> np.ndarray:
    """Fills NaN linearly between the neighbours in the same row, then those in the same column for what remains.

    Before the first and after the last valid pixel of a row or column, that pixel is repeated.

    Args:
        pixels: float [height, width] or [height, width, channels]; every channel has a valid pixel.
    """
    planes = np.atleast_3d(pixels).transpose(2, 0, 1).copy()  # [channels, height, width]
    for plane in planes:
        for lines in (plane, plane.T):  # a row without a valid pixel is left to the columns
            for index in np.flatnonzero(np.isnan(lines).any(axis=1)):
                _interpolate_line(lines[index])
    return planes.transpose(1, 2, 0).reshape(pixels.shape)


def _interpolate_line(line: np.ndarray) -> None:
    gaps = np.isnan(line)
    if not gaps.all():
        valid = np.flatnonzero(~gaps)
        line[gaps] = np.interp(np.flatnonzero(gaps), valid, line[valid])
