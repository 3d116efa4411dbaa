"""Missing values, by hand: 4 x 4 pictures, and sums that do not depend on how values are dealt out."""

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farandole.config.data import Missing
from farandole.core.record import missing
from farandole.core.record.quality import RejectedError

N = np.nan
HOLED = np.array([[0, N, 20, 30], [N, 10, N, 40], [N, N, N, N], [8, 12, 16, N]], np.float32)
FLOATS = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20)


def test_interpolation_goes_along_rows_and_then_along_columns():
    expected = [[0, 10, 20, 30], [10, 10, 25, 40], [9, 11, 20.5, 28], [8, 12, 16, 16]]
    repaired = missing.repair_pixels(HOLED, Missing(pixels="interpolate"))
    np.testing.assert_array_equal(repaired, np.array(expected, np.float32))
    assert repaired.dtype == np.float32


def test_fill_takes_the_constant_or_the_channel_mean():
    constant = missing.repair_pixels(HOLED, Missing(pixels="fill", pixel_value=7.0))
    expected = [[0, 7, 20, 30], [7, 10, 7, 40], [7, 7, 7, 7], [8, 12, 16, 7]]
    np.testing.assert_array_equal(constant, np.array(expected, np.float32))
    two = np.dstack([HOLED, np.where(np.isnan(HOLED), 1.0, N)])  # means 136 / 8 and 1
    filled = missing.repair_pixels(two, Missing(pixels="fill"))
    mean = [[0, 17, 20, 30], [17, 10, 17, 40], [17, 17, 17, 17], [8, 12, 16, 17]]
    np.testing.assert_array_equal(filled, np.dstack([mean, np.ones((4, 4))]))


def test_drop_rejects_and_so_does_a_channel_without_pixels():
    with pytest.raises(RejectedError, match="nan_pixels: 8 of 16 values are NaN or null"):
        missing.repair_pixels(HOLED, Missing())
    for rule in ("fill", "interpolate"):
        with pytest.raises(RejectedError, match="all values of a channel are NaN or null"):
            missing.repair_pixels(np.dstack([HOLED, np.full((4, 4), N)]), Missing(pixels=rule))
    whole = np.ones((4, 4))
    assert missing.repair_pixels(whole, Missing()) is whole


@given(FLOATS, st.integers(0, 20))
def test_sums_are_exact_however_they_are_cut(values, cut):
    parts = [np.array(values[:cut], np.float64), np.array(values[cut:], np.float64)]
    total = sum(missing.exact_sum(part) for part in parts)
    assert Fraction(total, 2**1127) == sum(map(Fraction, values))
    if values:
        assert missing.mean_of(total, len(values)) == sum(map(Fraction, values)) / len(values)


@pytest.mark.parametrize("kind", [np.int64, np.uint64])
@given(st.data())
def test_integers_of_64_bits_keep_their_digits(kind, data):
    info = np.iinfo(kind)
    values = data.draw(st.lists(st.integers(int(info.min), int(info.max)), min_size=1, max_size=20))
    array = np.array(values, kind)
    assert missing.mean_of(missing.exact_sum(array), len(values)) == Fraction(sum(values), len(values))
    keys = missing.ordered_keys(array)
    assert missing.from_ordered_keys(np.sort(keys), kind).tolist() == sorted(values)


def test_a_value_between_neighbours():
    start = 2**62 + 1
    at, left, right = Decimal(start), (Decimal(start - 1), start), (Decimal(start + 2), start + 3)
    assert missing.between(at, left, right, is_whole=True) == start + 1
    assert missing.between(0.5, (0.0, 1), (1.0, 2), is_whole=True) == 2  # of halves the even one
    assert missing.between(0.25, (0.0, 1.0), (1.0, 2.0), is_whole=False) == 1.25
    assert missing.between(3.0, (3.0, 7), (3.0, 9), is_whole=False) == 7.0  # no distance: the left one


@given(FLOATS)
def test_keys_are_in_the_order_of_the_values(values):
    array = np.array(values, np.float64)
    keys = missing.ordered_keys(array)
    assert missing.from_ordered_keys(np.sort(keys)).tolist() == sorted(values)
    assert missing.ordered_keys(np.array([-0.0])) == missing.ordered_keys(np.array([0.0]))


def test_numbers_nulls_and_rounding():
    days = missing.as_numbers(pa.array([0, None, 3], pa.int32()).cast(pa.date32()))
    assert days.to_pylist() == [0, None, 3]
    assert missing.as_numbers(pa.array([5], pa.timestamp("us"))).to_pylist() == [5]
    assert missing.nan_to_null(pa.chunked_array([[1.0, math.nan, None]])).to_pylist() == [1.0, None, None]
    assert [missing.round_to(Fraction(n, 2), pa.int64()) for n in (1, 3, 5)] == [0, 2, 2]
    assert missing.round_to(Fraction(1, 4), pa.float64()) == 0.25
