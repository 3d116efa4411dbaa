"""Classification metrics from integer counts alone: the same bits for any number of ranks, in any order of rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from farandole.errors import DataError

LOSS_SCALE = 2**24
"""Losses are added up as integers, in units of 2**-24: a sum of floats would depend on who added first."""
LARGEST_LOSS = 1e4
"""A row's loss is counted as no more than this, so that 5e7 such rows still fit an int64."""


MAX_CONFUSION_CLASSES = 1000
"""With more classes rows are counted by class only: 5,000 take 200 MB on each rank, and nobody reads such a table."""
FEW_ROWS = 10
"""Of a class in the test split: with fewer, one picture more or less moves its figures by more than a tenth."""


@dataclass(frozen=True)
class Counts:
    """What a pass over a split adds up to: views of one int64 vector; two such vectors add to the counts of both."""

    vector: np.ndarray
    """int64 [3 C + 1], or [3 C + 1 + C*C] where there is a confusion."""
    num_classes: int

    @classmethod
    def zero(cls, num_classes: int) -> "Counts":
        table = num_classes**2 if num_classes <= MAX_CONFUSION_CLASSES else 0
        return cls(np.zeros(3 * num_classes + 1 + table, np.int64), num_classes)

    @property
    def support(self) -> np.ndarray:
        """int64 [C]: rows by true class."""
        return self.vector[: self.num_classes]

    @property
    def predicted(self) -> np.ndarray:
        """int64 [C]: rows by predicted class."""
        return self.vector[self.num_classes : 2 * self.num_classes]

    @property
    def correct(self) -> np.ndarray:
        """int64 [C]: rows whose predicted class is the true one."""
        return self.vector[2 * self.num_classes : 3 * self.num_classes]

    @property
    def loss_units(self) -> np.ndarray:
        """int64 [1]: the sum over rows of round(loss * LOSS_SCALE)."""
        return self.vector[3 * self.num_classes : 3 * self.num_classes + 1]

    @property
    def confusion(self) -> np.ndarray | None:
        """int64 [C, C]: rows by true class (first axis) and predicted class; None above MAX_CONFUSION_CLASSES."""
        table = self.vector[3 * self.num_classes + 1 :]
        return table.reshape(self.num_classes, self.num_classes) if len(table) else None

    def add(self, labels: np.ndarray, predicted: np.ndarray, losses: np.ndarray) -> None:
        """Counts rows: labels and predicted int [n], losses float [n] per row.

        Raises:
            DataError: a loss is NaN.
        """
        if np.isnan(losses).any():
            raise DataError(
                f"{int(np.isnan(losses).sum())} of {len(losses)} rows have a loss of NaN; nothing is averaged over them"
            )
        np.add.at(self.support, labels, 1)
        np.add.at(self.predicted, predicted, 1)
        np.add.at(self.correct, labels[labels == predicted], 1)
        if self.confusion is not None:
            np.add.at(self.confusion, (labels, predicted), 1)
        units = np.rint(np.minimum(losses.astype(np.float64), LARGEST_LOSS) * LOSS_SCALE)
        self.loss_units[0] += units.astype(np.int64).sum()


def classification_metrics(counts: Counts, class_names: list[str]) -> dict[str, Any]:
    """The figures of metrics.json for one split.

    Precision, recall and F1 are 0 where their denominator is 0, as scikit-learn's are with zero_division=0.
    Balanced accuracy is the mean recall over the classes that have rows; macro F1 is the mean over the classes that
    have rows or predictions. "confusion" is there up to MAX_CONFUSION_CLASSES.
    """
    support, predicted, correct = counts.support, counts.predicted, counts.correct
    num_rows = int(support.sum())
    precision, recall = _ratio(correct, predicted), _ratio(correct, support)
    f1 = _ratio(2 * correct, support + predicted)
    return {
        "num_rows": num_rows,
        "loss": int(counts.loss_units[0]) / LOSS_SCALE / num_rows if num_rows else 0.0,
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
    } | ({} if counts.confusion is None else {"confusion": counts.confusion.tolist()})


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros(len(numerator), np.float64), where=denominator > 0)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0
