"""Classification metrics from integer counts alone: the same bits for any number of ranks, in any order of rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from farandole.errors import DataError

LOSS_SCALE = 2**24
"""Losses are added up as integers, in units of 2**-24: a sum of floats would depend on who added first."""
LARGEST_LOSS = 1e4
"""A row's loss is counted as no more than this, so that 5e7 such rows still fit an int64."""


@dataclass
class Counts:
    """What a pass over a split adds up to; two of them add to the counts of both."""

    confusion: np.ndarray
    """int64 [C, C]: rows by true class (first axis) and predicted class."""
    loss_units: int = 0
    """Sum over rows of round(loss * LOSS_SCALE)."""

    @classmethod
    def zero(cls, num_classes: int) -> "Counts":
        return cls(np.zeros((num_classes, num_classes), np.int64))

    def add(self, labels: np.ndarray, predicted: np.ndarray, losses: np.ndarray) -> None:
        """Counts rows: labels and predicted int [n], losses float [n] per row.

        Raises:
            DataError: a loss is NaN.
        """
        if np.isnan(losses).any():
            raise DataError(
                f"{int(np.isnan(losses).sum())} of {len(losses)} rows have a loss of NaN; nothing is averaged over them"
            )
        num_classes = len(self.confusion)
        pairs = labels.astype(np.int64) * num_classes + predicted
        self.confusion += np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
        self.loss_units += int(
            np.rint(np.minimum(losses.astype(np.float64), LARGEST_LOSS) * LOSS_SCALE).astype(np.int64).sum()
        )

    def to_array(self) -> np.ndarray:
        """int64 [C*C + 1], for a sum over ranks."""
        return np.concatenate([self.confusion.reshape(-1), [self.loss_units]])

    @classmethod
    def from_array(cls, values: np.ndarray) -> "Counts":
        """The inverse of to_array."""
        num_classes = round((len(values) - 1) ** 0.5)
        return cls(values[:-1].reshape(num_classes, num_classes).astype(np.int64), int(values[-1]))


def classification_metrics(counts: Counts, class_names: list[str]) -> dict[str, Any]:
    """The figures of metrics.json for one split.

    Precision, recall and F1 are 0 where their denominator is 0, as scikit-learn's are with zero_division=0.
    Balanced accuracy is the mean recall over the classes that have rows; macro F1 is the mean over the classes that
    have rows or predictions.
    """
    confusion = counts.confusion
    support, predicted, correct = confusion.sum(axis=1), confusion.sum(axis=0), np.diagonal(confusion)
    num_rows = int(support.sum())
    precision, recall = _ratio(correct, predicted), _ratio(correct, support)
    f1 = _ratio(2 * correct, support + predicted)
    return {
        "num_rows": num_rows,
        "loss": counts.loss_units / LOSS_SCALE / num_rows if num_rows else 0.0,
        "accuracy": int(correct.sum()) / num_rows if num_rows else 0.0,
        "balanced_accuracy": _mean(recall[support > 0]),
        "macro_f1": _mean(f1[(support + predicted) > 0]),
        "per_class": {
            name: {
                "support": int(support[i]),
                "precision": float(precision[i]),
                "recall": float(recall[i]),
                "f1": float(f1[i]),
            }
            for i, name in enumerate(class_names)
        },
        "confusion": confusion.tolist(),
    }


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros(len(numerator), np.float64), where=denominator > 0)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0
