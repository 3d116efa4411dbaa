"""Splits: exact thresholds, given splits kept, no row moved by its neighbours."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farandole.config.data import Split
from farandole.core.dataset.schema import SPLITS
from farandole.core.plan.split import UNSPLIT, assign_splits, largest_keys, plan_splits

TRAIN, VAL, TEST = range(len(SPLITS))


def hashes(number: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-(2**63), 2**63 - 1, number, dtype=np.int64)


def unsplit(number: int) -> np.ndarray:
    return np.full(number, UNSPLIT)


def split(
    keys: np.ndarray, given: np.ndarray, rules: Split, *names: str, labels: np.ndarray | None = None
) -> np.ndarray:
    """Of rows whose classes all have a train row anyway, unless labels are given."""
    if labels is None:
        return assign_splits(keys, given, plan_splits(rules, names, np.zeros(0, np.uint64)))
    largest = largest_keys(keys, labels, given, rules.seed, int(labels.max()) + 1)
    return assign_splits(keys, given, plan_splits(rules, names, largest))


def shares(splits: np.ndarray) -> list[float]:
    return [float((splits == index).mean()) for index in range(len(SPLITS))]


def test_fractions_are_met_where_nothing_is_given() -> None:
    rules = Split(val_fraction=0.1, test_fraction=0.2)
    splits = split(hashes(100_000), unsplit(100_000), rules)
    assert shares(splits) == pytest.approx([0.7, 0.1, 0.2], abs=0.005)


def test_a_given_test_split_is_kept_and_val_is_cut_out_of_the_rest_only() -> None:
    given_splits = np.where(np.arange(50_000) < 10_000, TEST, TRAIN)
    rules = Split(val_fraction=0.25, test_fraction=0.5)
    splits = split(hashes(50_000), given_splits, rules, "train", "test")
    assert (splits[:10_000] == TEST).all()
    assert shares(splits[10_000:]) == pytest.approx([0.75, 0.25, 0.0], abs=0.01)


def test_given_val_and_test_leave_train_untouched() -> None:
    given_splits = np.array([TRAIN, VAL, TEST, UNSPLIT] * 100)
    rules = Split(val_fraction=0.4, test_fraction=0.4)
    splits = split(hashes(400), given_splits, rules, "train", "val", "test")
    assert splits.tolist() == [TRAIN, VAL, TEST, TRAIN] * 100


def test_a_given_val_split_without_a_test_split_gets_a_test_split_out_of_train() -> None:
    given_splits = np.where(np.arange(20_000) < 5_000, VAL, TRAIN)
    rules = Split(val_fraction=0.3, test_fraction=0.3)
    splits = split(hashes(20_000), given_splits, rules, "val")
    assert (splits[:5_000] == VAL).all()
    assert shares(splits[5_000:]) == pytest.approx([0.7, 0.0, 0.3], abs=0.02)


def test_zero_fractions_hold_nothing_out() -> None:
    rules = Split(val_fraction=0.0, test_fraction=0.0)
    assert set(split(hashes(5_000), unsplit(5_000), rules)) == {TRAIN}


def test_another_seed_gives_another_split() -> None:
    keys = hashes(1_000)
    one, other = (split(keys, unsplit(1_000), Split(val_fraction=0.5, seed=seed)) for seed in (0, 1))
    assert 300 < (one != other).sum() < 800


def test_the_split_of_known_hashes_never_changes() -> None:
    rules = Split(val_fraction=0.25, test_fraction=0.25, seed=7)
    splits = split(np.arange(16, dtype=np.int64), unsplit(16), rules)
    assert splits.tolist() == [0, 2, 1, 1, 0, 0, 0, 2, 2, 0, 1, 0, 2, 0, 0, 2]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=50), st.integers(0, 2**70), st.data())
def test_appending_or_reordering_rows_moves_none(values: list[int], seed: int, data: st.DataObject) -> None:
    rules = Split(val_fraction=0.3, test_fraction=0.3, seed=seed)
    keys = np.array(values, np.int64)
    splits = split(keys, unsplit(len(keys)), rules)
    order = np.array(data.draw(st.permutations(range(len(keys)))))
    kept = order[: data.draw(st.integers(1, len(order)))]
    again = split(keys[kept], unsplit(len(kept)), rules)
    assert again.tolist() == splits[kept].tolist()


@given(st.floats(0.0, 1.0, exclude_max=True), st.floats(0.0, 1.0, exclude_max=True))
def test_any_allowed_fractions_fit_into_64_bits(val_fraction: float, test_fraction: float) -> None:
    if val_fraction + test_fraction >= 1.0:
        return
    rules = Split(val_fraction=val_fraction, test_fraction=test_fraction)
    splits = split(hashes(10), unsplit(10), rules)
    assert set(splits) <= {TRAIN, VAL, TEST}


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=60),
    st.integers(0, 50),
    st.sampled_from([(0.1, 0.1), (0.45, 0.5), (0.0, 0.99), (0.0, 0.0)]),
)
def test_every_class_keeps_a_train_row_and_no_other_row_moves(
    classes: list[int], seed: int, fractions: tuple[float, float]
) -> None:
    labels, keys = np.array(classes), hashes(len(classes), seed)
    rules = Split(val_fraction=fractions[0], test_fraction=fractions[1], seed=seed)
    drawn, spared = split(keys, unsplit(len(keys)), rules), split(keys, unsplit(len(keys)), rules, labels=labels)
    for label in set(classes):
        before, after = drawn[labels == label], spared[labels == label]
        assert (after == TRAIN).sum() == max((before == TRAIN).sum(), 1)
        assert ((before == after) | (after == TRAIN)).all()


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(1, 5))
def test_largest_keys_do_not_depend_on_who_finds_them(classes: list[int], num_parts: int) -> None:
    labels, keys = np.array(classes), hashes(len(classes))
    given_splits = np.resize([UNSPLIT, TRAIN, VAL, TEST], len(classes))
    whole = largest_keys(keys, labels, given_splits, 3, 10)
    parts = [slice(start, None, num_parts) for start in range(num_parts)]
    found = [largest_keys(keys[part], labels[part], given_splits[part], 3, 10) for part in parts]
    assert np.max(found, axis=0).tolist() == whole.tolist()


def test_rows_that_were_given_as_test_or_val_are_not_taken_for_train() -> None:
    given_splits = np.array([TEST, VAL, TEST, VAL])
    labels = np.array([0, 0, 1, 1])
    splits = split(hashes(4), given_splits, Split(), "val", "test", labels=labels)
    assert splits.tolist() == given_splits.tolist()
