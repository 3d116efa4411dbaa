"""A task is six functions; steps and evaluation call them, and know nothing else of what a model is for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Tensors = dict[str, Any]
"""By feature, [n, *shape]."""


@dataclass(frozen=True)
class Task:
    """What is done with the outputs of a model, float32 [n, ...], and the values of the rows that it was given."""

    losses: Callable[[Any, Tensors], tuple[Any, Any]]
    """(outputs, values) -> float32 [n] each: the loss of a row, and the weight that it counts with. The loss of a step
    is the sum over all ranks of loss times weight, divided by that of the weights."""
    hits: Callable[[Any, Tensors], Any]
    """(outputs, values) -> float32 [n]: 1 for a row that is right, for the line of progress."""
    predictions: Callable[[Any, Tensors], Tensors]
    """(outputs, values) -> what is counted, and who was wrong: arrays [n, ...] by name."""
    zero: Callable[[], np.ndarray]
    """int64 [K]: of no rows. Such vectors add up over rows, batches and ranks."""
    count: Callable[[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]], None]
    """(total, values, predictions): adds rows to a total. Raises DataError for a loss that is NaN."""
    figures: Callable[[np.ndarray], dict[str, Any]]
    """Of a total: what metrics.json says of a split."""
    headline: tuple[str, ...]
    """The figures that are logged after every epoch."""
