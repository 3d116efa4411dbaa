"""Class counts before -> class counts after, as integers, and the loss weights of the strategy that copies nothing."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from farandole.errors import DataError


@dataclass(frozen=True)
class BalancePlan:
    """What happens to each class; keys are class names, in the order of the class counts."""

    repeats: dict[str, int]
    """How often every image of each class is written; 0 where rows are dropped."""
    extras: dict[str, int]
    """How many images of each class, fewer than it has, are written once more than the others."""
    targets: dict[str, int]
    """How many rows each class has after balancing."""
    class_weights: dict[str, float]
    """What a row of each class weighs in the loss; empty unless the strategy is weights."""


def plan_balance(class_counts: Mapping[str, int], *, strategy: str, max_repeats: int) -> BalancePlan:
    """Decides how many rows of each class the balanced train split has.

    none and weights keep all rows once; oversample repeats up to the largest class, but no image more often than
    max_repeats; undersample cuts down to the smallest. A class weight is total / (num_classes * rows of the class),
    as in scikit-learn's "balanced", so the mean weight over the rows is 1.

    Args:
        class_counts: rows of each class in the train split.
        strategy: none, oversample, undersample or weights.
        max_repeats: at least 1; used with oversample.

    Raises:
        DataError: a class has no rows.
    """
    empty = [name for name, count in class_counts.items() if count == 0]
    if empty or not class_counts:
        raise DataError(
            f"the train split has no rows of {', '.join(map(repr, empty)) or 'any class'}, received class counts "
            f"{dict(class_counts)}; add images, remove the class, or lower split.val_fraction and split.test_fraction"
        )
    largest, smallest = max(class_counts.values()), min(class_counts.values())
    targets = dict(class_counts)
    if strategy == "oversample":
        targets = {name: min(largest, max_repeats * count) for name, count in class_counts.items()}
    elif strategy == "undersample":
        targets = dict.fromkeys(class_counts, smallest)
    weights = {}
    if strategy == "weights":
        total = sum(class_counts.values())
        weights = {name: total / (len(class_counts) * count) for name, count in class_counts.items()}
    return BalancePlan(
        repeats={name: targets[name] // count for name, count in class_counts.items()},
        extras={name: targets[name] % count for name, count in class_counts.items()},
        targets=targets,
        class_weights=weights,
    )


def expand_copies(num_copies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which row each written row is taken from, and which copy of it it is: [2, 0, 1] -> [0, 0, 2], [0, 1, 0].

    Args:
        num_copies: int64 [n], how often each row is written.

    Returns:
        Positions int64 [m] and copy numbers int32 [m], with m the sum of num_copies.
    """
    positions = np.repeat(np.arange(len(num_copies), dtype=np.int64), num_copies)
    first = np.cumsum(num_copies) - num_copies
    return positions, (np.arange(len(positions)) - first[positions]).astype(np.int32)
