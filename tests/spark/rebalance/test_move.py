"""Gathering rows from many sorted arrays."""

import itertools

import numpy as np
import pyarrow as pa
import pytest

from farandole.spark.rebalance.move import _gather


@pytest.mark.parametrize("num_arrays", [1, 5, 40])
def test_gathered_rows_are_those_of_the_joined_arrays(num_arrays):
    rng = np.random.default_rng(num_arrays)
    joined = pa.array([f"{number}".encode() * (number % 4) for number in range(200)], pa.binary())
    starts = np.array([0, *np.sort(rng.integers(0, 201, num_arrays - 1)), 200])  # some of the arrays are empty
    arrays = [joined.slice(start, stop - start) for start, stop in itertools.pairwise(starts)]
    for size in (1, 17, 200):
        positions = rng.permutation(200)[:size]
        assert _gather(arrays, starts, positions).equals(joined.take(pa.array(positions)))
