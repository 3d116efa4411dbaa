"""Plans of sizes that nobody tries: what travels stays small, and the real cuts are found in a few passes."""

import functools
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from manifests import file_entry, make_manifest, split_entry

from farandole.core.plan.balance import plan_balance
from farandole.core.plan.order_statistics import keys_at_ranks
from farandole.core.plan.rebalance_plan import MAX_CUTS, RebalancePlan, plan_rebalance


def plan_for(num_classes: int, num_rows: int, side: int, *, strategy: str = "none") -> RebalancePlan:
    """Of classes whose sizes fall off, as those of the wild do; a tenth of the rows is in val, nothing in test."""
    names = [f"class {number:05d}" for number in range(num_classes)]
    row_bytes, splits = side * side * 3, {}
    for split, rows in (("train", num_rows - num_rows // 10), ("val", num_rows // 10)):
        shares = 1 / (np.arange(num_classes) + num_classes)
        counts = np.maximum(rows * shares / shares.sum(), 1).astype(np.int64)
        counts[0] += rows - counts.sum()
        per_file = max(2**26 // row_bytes, 1)
        files = [
            file_entry([min(per_file, rows - first)], path=f"data/split={split}/part-{first}", row_bytes=row_bytes)
            for first in range(0, rows, per_file)
        ]
        splits[split] = split_entry(dict(zip(names, counts.tolist(), strict=True)), files)
    clean = make_manifest(splits, image_shape=(side, side, 3))
    balance = plan_balance(clean.splits["train"].class_counts, strategy=strategy, max_repeats=3)
    return plan_rebalance(clean, balance, Path("clean"), seed=0, num_files=0)


@pytest.mark.parametrize(
    ("num_classes", "num_rows", "side", "even_by"),
    [
        (10, 60_000, 32, "class"),
        (365, 1_800_000, 64, "class"),
        (365, 8_000_000, 224, "rows"),
        (5_000, 100_000_000, 64, "rows"),
    ],
)
def test_nothing_that_travels_grows_with_classes_times_files(num_classes, num_rows, side, even_by):
    plan = plan_for(num_classes, num_rows, side, strategy="oversample")
    assert plan.even_by == even_by
    assert sum(map(len, plan.starts())) <= MAX_CUTS
    assert len(pickle.dumps(replace(plan, pieces=[]))) < 500 + 400 * num_classes
    # Every file knows what it gets; together that is all, and no two files of a split differ by more than a row.
    rows = [int(plan.rows_of(number).sum()) for number in range(0, plan.num_files, max(plan.num_files // 500, 1))]
    train = rows[: 1 + (plan.files_of[0] - 1) // max(plan.num_files // 500, 1)]
    assert max(train) - min(train) <= 1
    assert int(plan.cut_counts.sum()) == int(plan.targets.sum())


@pytest.mark.parametrize(("num_classes", "num_rows", "side"), [(365, 8_000_000, 64), (365, 4_000_000, 224)])
def test_the_cuts_of_millions_of_rows_are_found_in_a_few_passes(num_classes, num_rows, side):
    plan = plan_for(num_classes, num_rows, side)
    groups = np.repeat(np.arange(len(plan.cut_counts)), plan.cut_counts)
    keys = np.random.default_rng(0).integers(0, 2**64, len(groups), dtype=np.uint64)
    results = []

    def scan(measure, combine):
        batches = (slice(first, first + 500_000) for first in range(0, len(keys), 500_000))
        results.append(functools.reduce(combine, (measure(groups[batch], keys[batch]) for batch in batches)))
        return results[-1]

    starts = plan.starts()
    ranks = [rank[rank < count] for rank, count in zip(starts, plan.cut_counts, strict=True)]
    found = keys_at_ranks(scan, plan.cut_counts, ranks)
    assert len(results) <= 6
    assert max(result.nbytes for result in results) <= 64 * 2**20  # of all tasks together for keys, of each for counts
    first = int(np.flatnonzero(plan.cut_counts)[0])
    own = np.sort(keys[groups == first])
    assert found[first].tolist() == own[ranks[first]].tolist()
