"""What speaks against the figures of a run, in sentences: for the report, and for the terminal."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from farandole.core.metrics.classification import FEW_ROWS
from farandole.log import first_few

MAX_NAMED = 5
"""Classes that one sentence names."""
RISE = 1.1
"""A val loss that ends at so many times its lowest value has risen: less is noise."""


@dataclass(frozen=True)
class BestEpoch:
    """The epoch after which the val loss was lowest. Epochs count from 1, as people do."""

    epoch: int
    loss: float
    accuracy: float
    num_epochs: int
    """That were trained."""
    last_loss: float

    @property
    def has_risen(self) -> bool:
        """Whether the loss was clearly lower than at the end, whose weights are kept."""
        return self.last_loss > RISE * self.loss


def best_epoch(history: Sequence[dict[str, Any]]) -> BestEpoch | None:
    """Of the val lines of metrics.jsonl; None without them. Of equal losses the first."""
    lines = [line for line in history if line.get("kind") == "val"]
    if not lines:
        return None
    best, last = min(lines, key=lambda line: line["loss"]), lines[-1]
    return BestEpoch(best["epoch"] + 1, best["loss"], best["accuracy"], last["epoch"] + 1, last["loss"])


def doubts(metrics: dict[str, Any], history: Sequence[dict[str, Any]]) -> list[str]:
    """Why the figures may say less than they seem to, one sentence each, the gravest first.

    Args:
        metrics: what metrics.json holds.
        history: the lines of metrics.jsonl.
    """
    return [*_one_class(metrics), *_risen(history), *_few_rows(metrics)]


def _one_class(metrics: dict[str, Any]) -> list[str]:
    for split in ("test", "val"):
        measured = metrics.get(split)
        if measured and measured["num_rows"]:
            names = predicted_classes(measured)
            if len(names) == 1 and len(measured["per_class"]) > 1:
                return [f"the model takes every image of the {split} split for {names[0]!r}"]
            return []
    return []


def predicted_classes(measured: dict[str, Any]) -> list[str]:
    """The classes that a model predicted for any row of a split.

    Without a confusion, of very many classes, those that it was right about once: all, where it has but one answer.
    """
    names, table = list(measured["per_class"]), measured.get("confusion")
    if table:
        return [names[index] for index in np.flatnonzero(np.array(table).sum(axis=0))]
    return [name for name in names if measured["per_class"][name]["recall"] > 0]


def _risen(history: Sequence[dict[str, Any]]) -> list[str]:
    best = best_epoch(history)
    if best is None or not best.has_risen:
        return []
    return [
        f"the val loss rose from {best.loss:.4f} after epoch {best.epoch} to {best.last_loss:.4f} after epoch "
        f"{best.num_epochs}, whose weights are kept; fewer epochs, or more augmentation, may do better"
    ]


def _few_rows(metrics: dict[str, Any]) -> list[str]:
    measured = metrics.get("test")
    if not measured:
        return []
    rows = {name: figures["support"] for name, figures in measured["per_class"].items()}
    none = [repr(name) for name, number in rows.items() if not number]
    few = [f"{name!r} {number}" for name, number in rows.items() if 0 < number < FEW_ROWS]
    found = []
    if none:
        found.append(
            f"{len(none)} of {len(rows)} classes have no test rows, so nothing is known of them: {_some(none)}"
        )
    if few:
        found.append(
            f"{len(few)} of {len(rows)} classes have fewer than {FEW_ROWS} test rows, so their figures say little: "
            f"{_some(few)}"
        )
    return found


def _some(names: list[str]) -> str:
    return first_few(names, MAX_NAMED)
