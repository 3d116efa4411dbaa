import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from farandole.core.plan.layout import (
    TARGET_FILE_BYTES,
    deal_classes,
    files_by_hash,
    first_row_of_file,
    num_files_for_bytes,
    num_files_like,
    rows_of_file,
    runs_within,
    split_evenly,
)


@given(st.lists(st.integers(0, 500), min_size=1, max_size=20), st.integers(1, 40))
def test_dealt_rows_and_classes_differ_by_at_most_one(class_counts, num_files):
    dealt = deal_classes(class_counts, num_files)
    assert dealt.shape == (len(class_counts), num_files)
    assert dealt.sum(axis=1).tolist() == class_counts
    assert np.ptp(dealt.sum(axis=0)) <= 1
    assert np.ptp(dealt, axis=1).max() <= 1
    assert dealt.min() >= 0


def test_deal_goes_on_where_the_class_before_it_stopped():
    assert deal_classes([4, 4, 1], 3).tolist() == [[2, 1, 1], [1, 2, 1], [0, 0, 1]]


@given(st.lists(st.integers(0, 300), min_size=1, max_size=20), st.integers(1, 40))
def test_one_file_knows_its_rows_without_the_others(class_counts, num_files):
    dealt = deal_classes(class_counts, num_files)
    for index in range(num_files):
        assert rows_of_file(class_counts, num_files, index).tolist() == dealt[:, index].tolist()
        assert first_row_of_file(sum(class_counts), num_files, index) == dealt[:, :index].sum()


def test_no_rows_are_dealt_to_no_files():
    assert deal_classes([0, 0], 0).shape == (2, 0)


@given(st.integers(0, 10_000), st.integers(1, 600))
def test_row_groups_are_the_fewest_and_differ_by_at_most_one(num_rows, max_rows):
    sizes = split_evenly(num_rows, max_rows)
    assert sum(sizes) == num_rows
    assert len(sizes) == -(-num_rows // max_rows)
    assert not sizes or (min(sizes) >= 1 and max(sizes) <= max_rows and max(sizes) - min(sizes) <= 1)


def test_num_files_follow_bytes_unless_requested():
    assert num_files_for_bytes(1000, 1, 0) == 1
    assert num_files_for_bytes(1000, TARGET_FILE_BYTES, 0) == 1
    assert num_files_for_bytes(1000, TARGET_FILE_BYTES + 1, 0) == 2
    assert num_files_for_bytes(1000, TARGET_FILE_BYTES, 7) == 7
    assert num_files_for_bytes(5, TARGET_FILE_BYTES, 7) == 5
    assert num_files_for_bytes(0, 0, 7) == 0


@given(st.integers(0, 100_000), st.integers(1, 100_000), st.integers(1, 1000), st.integers(1, 2**20))
def test_other_splits_get_files_like_those_of_train(num_rows, train_rows, train_files, row_bytes):
    train_files = min(train_files, train_rows)
    num_files = num_files_like(num_rows, num_rows * row_bytes, train_rows, train_files)
    if num_files > train_files:  # each holds 64 MB, up to rounding
        assert (num_files - 1) * TARGET_FILE_BYTES < num_rows * row_bytes
    assert num_files <= num_rows
    assert (num_files == 0) == (num_rows == 0)
    if num_rows <= train_rows <= num_rows * train_files:  # there is at least one full file
        assert 0.5 <= (num_rows / num_files) / (train_rows / train_files) <= 2


def test_a_large_test_split_is_not_cut_up_beside_a_small_train_split():
    row_bytes = 16 * 16 * 3
    assert [num_files_like(rows, rows * row_bytes, 6, 1) for rows in (143, 317, 60_000, 200_000)] == [1, 1, 1, 3]
    assert num_files_like(60_000, 60_000 * row_bytes, 8, 4) == 4


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 120))
def test_runs_cover_everything_in_order_within_the_limit(sizes, limit):
    runs = runs_within(sizes, limit)
    assert [index for first, stop in runs for index in range(first, stop)] == list(range(len(sizes)))
    assert all(stop - first == 1 or sum(sizes[first:stop]) <= limit for first, stop in runs)
    assert all(sum(sizes[first : stop + 1]) > limit for first, stop in runs[:-1])  # and is not cut too early


def test_a_run_may_fill_the_limit_exactly():
    assert runs_within([2, 2, 2, 9, 1], 4) == [(0, 2), (2, 3), (3, 4), (4, 5)]


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=50), st.sampled_from([1, 2, 3, 1000, 2**32 - 1]))
def test_files_are_ranges_of_hashes(hashes, num_files):
    files = files_by_hash(np.sort(np.array([0, *hashes, 2**64 - 1], np.uint64)), num_files)
    assert (files[0], files[-1]) == (0, num_files - 1)
    assert (np.diff(files) >= 0).all()


def test_ranges_of_hashes_are_equal():
    hashes = (np.arange(3000, dtype=np.uint64) * np.uint64(2**64 // 3000)) + np.uint64(2**50)
    assert np.bincount(files_by_hash(hashes, 3)).tolist() == [1000, 1000, 1000]
