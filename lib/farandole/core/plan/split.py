"""Which row goes to train, val and test: by a hash of the picture, so that equal pictures never straddle splits."""

import numpy as np

from farandole.config.data import Split
from farandole.core.dataset.schema import SPLITS
from farandole.core.fingerprint import mix64

UNSPLIT = -1
"""The index of a row that came without a split."""

_TRAIN, _VAL, _TEST = range(len(SPLITS))


def assign_splits(
    content_hashes: np.ndarray, given: np.ndarray, rules: Split, *, has_val: bool, has_test: bool
) -> np.ndarray:
    """The split of each row, as an index into SPLITS.

    Rows given as test or val stay there. The others are train rows, out of which the fractions are cut by hash: test
    where the input has no test split, val where it has no val split. A row's split depends on its own pixels, the
    rules and the two flags alone, so appending data moves no old row.

    Args:
        content_hashes: int64 or uint64 [n].
        given: int [n], an index into SPLITS or UNSPLIT.
        rules: fractions and seed.
        has_val: whether any row of the whole input was given as val.
        has_test: whether any row of the whole input was given as test.

    Returns:
        int8 [n].
    """
    salt = mix64(np.asarray([rules.seed % 2**64], np.uint64))
    keys = mix64(content_hashes.view(np.uint64) ^ salt)
    test_end = 0 if has_test else _threshold(rules.test_fraction)
    val_end = test_end + (0 if has_val else _threshold(rules.val_fraction))
    drawn = np.full(len(keys), _TRAIN, np.int8)
    drawn[keys < np.uint64(val_end)] = _VAL
    drawn[keys < np.uint64(test_end)] = _TEST
    held_out = (given == _VAL) | (given == _TEST)
    return np.where(held_out, given, drawn).astype(np.int8)


def _threshold(fraction: float) -> int:
    """Exact: a double below 1 times 2**64 is an integer or rounds to one, the same on every machine."""
    return int(fraction * 2**64)
