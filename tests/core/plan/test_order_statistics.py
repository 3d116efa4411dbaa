import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farandole.core.plan.order_statistics import keys_at_ranks
from farandole.errors import DataError


class Batches:
    """Keys of some groups, dealt to batches; notes how much every pass brought back."""

    def __init__(self, group_keys: list[np.ndarray], num_batches: int) -> None:
        groups = np.repeat(np.arange(len(group_keys)), [len(keys) for keys in group_keys])
        keys = np.concatenate(group_keys)
        self.batches = [(groups[i::num_batches], keys[i::num_batches]) for i in range(num_batches)]
        self.counts = [len(keys) for keys in group_keys]
        self.fetched: list[int] = []

    def scan(self, measure, combine):
        result = functools.reduce(combine, (measure(*batch) for batch in self.batches))
        self.fetched.append(result.size)
        return result


def random_keys(count: int, seed: int, low_bits: int) -> np.ndarray:
    """Spread over all 64 bits, or crowded into the lowest low_bits, as no hash would do."""
    return np.random.default_rng(seed).integers(0, 2**low_bits, count, dtype=np.uint64, endpoint=False)


@given(
    counts=st.lists(st.integers(0, 300), min_size=1, max_size=6),
    seed=st.integers(0, 1000),
    low_bits=st.sampled_from([3, 20, 40, 63]),
    max_keys=st.sampled_from([0, 10, 100, 10_000]),
    max_bins=st.sampled_from([1, 16, 1000]),
    num_batches=st.integers(1, 5),
    data=st.data(),
)
@settings(deadline=None)
def test_equals_sorting_each_group(counts, seed, low_bits, max_keys, max_bins, num_batches, data):
    group_keys = [random_keys(count, seed + i, low_bits) for i, count in enumerate(counts)]
    places = [data.draw(st.lists(st.integers(0, count - 1), max_size=5)) if count else [] for count in counts]
    ranks = [np.array(of_group, dtype=np.int64) for of_group in places]
    batches = Batches(group_keys, num_batches)
    found = keys_at_ranks(batches.scan, counts, ranks, max_keys=max_keys, max_bins=max_bins)
    for keys, rank, result in zip(group_keys, ranks, found, strict=True):
        assert result.dtype == np.uint64
        assert result.tolist() == np.sort(keys)[rank].tolist()


def test_few_keys_travel_when_there_are_many():
    group_keys = [random_keys(200_000, group, 63) for group in range(3)]
    batches = Batches(group_keys, 4)
    ranks = [np.arange(10_000, 200_000, 10_000)] * 3
    found = keys_at_ranks(batches.scan, batches.counts, ranks, max_keys=1000, max_bins=2**14)
    assert [result.tolist() for result in found] == [np.sort(keys)[ranks[0]].tolist() for keys in group_keys]
    histograms, keys = batches.fetched[:-1], batches.fetched[-1]
    assert len(histograms) >= 1
    assert max(histograms) <= 2**14
    assert keys <= 3 * 1000  # a node, a key and a number each


@pytest.mark.parametrize(("wanted", "num_passes"), [(1_600, 1), (400, 6), (20, 8)])
def test_a_few_passes_do_however_many_keys_are_wanted(wanted, num_passes):
    group_keys = [random_keys(2_000, group, 64) for group in range(365)]
    batches = Batches(group_keys, 4)
    ranks = [np.sort(np.random.default_rng(1).choice(2_000, wanted, replace=False))] * 365
    found = keys_at_ranks(batches.scan, batches.counts, ranks, max_keys=2_000, max_bins=128)
    assert [result.tolist() for result in found] == [np.sort(keys)[ranks[0]].tolist() for keys in group_keys]
    assert len(batches.fetched) <= num_passes
    assert max(batches.fetched) <= 3 * 4 * max(365 * wanted, 2_000)


def test_equal_keys_travel_as_one():
    batches = Batches([np.repeat(np.array([7, 9], np.uint64), [50_000, 50_001])], 4)
    found = keys_at_ranks(batches.scan, batches.counts, [np.array([49_999, 50_000])], max_keys=1000)
    assert found[0].tolist() == [7, 9]
    assert batches.fetched[-1] <= 3 * 2 * 4  # two of each batch


def test_many_groups_are_told_apart_to_the_last_bit_that_is_looked_at():
    group_keys = [random_keys(50, 0, 10), *([np.empty(0, np.uint64)] * 65_535), random_keys(50, 1, 10)]
    batches = Batches(group_keys, 2)
    ranks = [np.array([20]), *([np.empty(0, np.int64)] * 65_535), np.array([30])]
    found = keys_at_ranks(batches.scan, batches.counts, ranks, max_keys=0)
    assert (found[0][0], found[-1][0]) == (np.sort(group_keys[0])[20], np.sort(group_keys[-1])[30])


def test_nothing_is_read_when_nothing_is_asked():
    batches = Batches([random_keys(10, 0, 63)], 1)
    assert [len(keys) for keys in keys_at_ranks(batches.scan, [10], [np.empty(0, np.int64)])] == [0]
    assert batches.fetched == []


@pytest.mark.parametrize("max_keys", [0, 1000])
def test_other_counts_than_announced_are_refused(max_keys):
    batches = Batches([random_keys(10, 0, 63)], 1)
    with pytest.raises(DataError, match=r"10 rows were found where 11 were counted: .* change balance\.seed"):
        keys_at_ranks(batches.scan, [11], [np.array([3])], max_keys=max_keys)
