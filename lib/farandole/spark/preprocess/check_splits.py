"""Whether something can be trained on what will be written: judged by the counts of rows, before any is written."""

from collections import Counter

import numpy as np

from farandole.config.data import Split
from farandole.core.dataset.schema import SPLITS
from farandole.core.plan.split import SplitPlan
from farandole.errors import DataError
from farandole.log import first_few, say
from farandole.spark.preprocess.place_parts import PartCounts
from farandole.spark.preprocess.remarks import MAX_NAMED, explain
from farandole.spark.source.records import Source


def check_splits(rules: Split, source: Source, parts: list[PartCounts]) -> None:
    """Refuses a data set that nothing can be trained on.

    Args:
        rules: of the splits.
        source: whose classes all have rows.
        parts: what was placed of it.

    Raises:
        DataError: no rows, fewer than two classes, an empty train split, a class of which all rows were given as val or
            test, or one with fewer rows than split.min_rows_per_class.
    """
    train, val, test = counts = count_splits(source, parts)
    lost = _explain(parts)
    if not counts.sum():
        raise DataError(f"none of {source.input_rows} records is usable: {lost}")
    if len(source.class_names) < 2:
        raise DataError(
            f"only one class has usable images: {source.class_names[0]!r} with {counts.sum()}, "
            f"out of {source.input_rows} records; training needs two or more"
            f"{f'; rejected are {lost}' if lost else ''}"
        )
    if not train.sum():
        raise DataError(
            f"the train split is empty: {val.sum()} rows were given as val and {test.sum()} as test; "
            f"add images, or let the splits be drawn"
        )
    names = source.class_names
    untrained = [f"{names[at]!r} ({val[at]} in val, {test[at]} in test)" for at in np.flatnonzero(train == 0)]
    if untrained:
        raise DataError(
            f"{len(untrained)} classes have rows that were given as val or test, but none in train: "
            f"{first_few(untrained, MAX_NAMED)}; add train images, or remove the classes"
        )
    small = np.flatnonzero(counts.sum(axis=0) < rules.min_rows_per_class)
    if len(small):
        named = [f"{names[at]!r} {counts[:, at].sum()}" for at in small]
        raise DataError(
            f"{len(small)} classes have fewer rows than split.min_rows_per_class = {rules.min_rows_per_class}: "
            f"{first_few(named, MAX_NAMED)}; add images, remove the classes, or lower it"
        )


def count_splits(source: Source, parts: list[PartCounts]) -> np.ndarray:
    """Rows of each class in each split, int64 [splits, classes]."""
    counts = np.zeros((len(SPLITS), len(source.class_names)), np.int64)
    for part in parts:
        for split, of_split in part.splits.items():
            counts[SPLITS.index(split)] += of_split.class_counts
    return counts


def warn_of_spared(source: Source, splits: SplitPlan, parts: list[PartCounts]) -> None:
    """One line about the classes that would have no train row if the splits were drawn by the fractions alone."""
    if not len(splits.in_train):
        return
    counts = count_splits(source, parts).sum(axis=0)
    rarest = np.argsort(counts, kind="stable")
    named = [f"{source.class_names[at]!r} {counts[at]}" for at in rarest[: MAX_NAMED + 1]]
    say(
        f"preprocess: warning: {len(splits.in_train)} rows that would be held out stay in train, since nothing else of "
        f"their classes would; the smallest classes are {first_few(named, MAX_NAMED)}"
    )


def _explain(parts: list[PartCounts]) -> str:
    examples = {reason: example for part in reversed(parts) for reason, example in part.examples.items()}
    return explain(sum((Counter(part.quarantine) for part in parts), Counter()), examples)
