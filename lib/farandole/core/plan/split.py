"""Which row goes to train, val and test: by a hash of the picture, so that equal pictures never straddle splits.

A row's key is its hash, mixed with split.seed. Test is cut from the low end of the keys and val above it, so that the
largest key of a class is the last one to be held out: it never is, else nothing of the class could be trained.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from farandole.config.data import Split
from farandole.core.dataset.schema import SPLITS
from farandole.core.fingerprint import mix64

UNSPLIT = -1
"""The index of a row that came without a split."""

_TRAIN, _VAL, _TEST = range(len(SPLITS))


@dataclass(frozen=True)
class SplitPlan:
    """Where the keys are cut."""

    seed: int
    test_end: int
    """Keys below it are drawn for test."""
    val_end: int
    """The others below it are drawn for val."""
    in_train: np.ndarray
    """uint64: keys below val_end whose rows are train rows all the same, one for each class that has none above."""


def plan_splits(rules: Split, given: Collection[str], largest: np.ndarray) -> SplitPlan:
    """Cuts test where the input has no test split of its own, and val where it has no val split.

    Args:
        rules: fractions and seed.
        given: the splits that the input names.
        largest: uint64 [classes], what `largest_keys` says of all rows that are kept.
    """
    test_end = 0 if "test" in given else _threshold(rules.test_fraction)
    val_end = test_end + (0 if "val" in given else _threshold(rules.val_fraction))
    lone = largest[(largest > 0) & (largest < np.uint64(val_end))]
    return SplitPlan(rules.seed, test_end, val_end, np.unique(lone))


def largest_keys(hashes: np.ndarray, labels: np.ndarray, given: np.ndarray, seed: int, num_classes: int) -> np.ndarray:
    """The largest key of each class, among the rows that were not given as val or test.

    Args:
        hashes: int64 or uint64 [n].
        labels: int [n].
        given: int [n], an index into SPLITS or UNSPLIT.
        seed: split.seed.
        num_classes: labels are below it.

    Returns:
        uint64 [num_classes], 0 for a class without such a row. Those of some rows and of others are joined by maximum.
    """
    largest = np.zeros(num_classes, np.uint64)
    free = ~_held_out(given)
    np.maximum.at(largest, labels[free], _keys(hashes[free], seed))
    return largest


def assign_splits(hashes: np.ndarray, given: np.ndarray, plan: SplitPlan) -> np.ndarray:
    """The split of each row, as an index into SPLITS.

    Rows given as test or val stay there. The others are train rows, out of which the fractions are cut by key. A row's
    split depends on its own hash and the plan alone, so appending data moves no old row, unless it is the one that was
    spared for a class that had no other train row.

    Args:
        hashes: int64 or uint64 [n].
        given: int [n], an index into SPLITS or UNSPLIT.
        plan: of all rows.

    Returns:
        int8 [n].
    """
    keys = _keys(hashes, plan.seed)
    drawn = np.full(len(keys), _TRAIN, np.int8)
    drawn[keys < np.uint64(plan.val_end)] = _VAL
    drawn[keys < np.uint64(plan.test_end)] = _TEST
    drawn[np.isin(keys, plan.in_train)] = _TRAIN
    return np.where(_held_out(given), given, drawn).astype(np.int8)


def _keys(hashes: np.ndarray, seed: int) -> np.ndarray:
    return mix64(hashes.view(np.uint64) ^ mix64(np.asarray([seed % 2**64], np.uint64)))


def _held_out(given: np.ndarray) -> np.ndarray:
    return (given == _VAL) | (given == _TEST)


def _threshold(fraction: float) -> int:
    """Exact: a double below 1 times 2**64 is an integer or rounds to one, the same on every machine."""
    return int(fraction * 2**64)
