"""What is said against the figures of a run, beside the sums that add up."""

from typing import Any

import numpy as np
import pytest

from farandole.core.metrics.classification import Counts, classification_metrics
from farandole.report.doubts import best_epoch, doubts


def measured(confusion: list[list[int]], *, with_table: bool = True) -> dict[str, Any]:
    matrix = np.array(confusion)
    table = [matrix.ravel()] if with_table else []
    vector = np.concatenate([matrix.sum(axis=1), matrix.sum(axis=0), np.diag(matrix), [0], *table])
    return classification_metrics(Counts(vector, len(matrix)), ["cat", "dog", "emu"][: len(matrix)])


def val_lines(*losses: float) -> list[dict[str, Any]]:
    return [{"kind": "val", "epoch": epoch, "loss": loss, "accuracy": 0.5} for epoch, loss in enumerate(losses)]


GOOD = measured([[20, 1, 0], [0, 20, 1], [0, 0, 20]])


def test_of_good_figures_there_is_nothing_to_say() -> None:
    assert doubts({"test": GOOD, "val": GOOD}, val_lines(0.9, 0.5, 0.52)) == []
    assert doubts({}, []) == []


@pytest.mark.parametrize("with_table", [True, False])
def test_a_model_that_has_but_one_answer(with_table: bool) -> None:
    always = measured([[90, 0, 0], [10, 0, 0], [10, 0, 0]], with_table=with_table)
    assert doubts({"test": always}, []) == ["the model takes every image of the test split for 'cat'"]
    assert doubts({"val": always}, []) == ["the model takes every image of the val split for 'cat'"]
    assert doubts({"test": GOOD, "val": always}, []) == []  # the larger question was asked of test
    assert doubts({"test": measured([[90]])}, []) == []


def test_a_val_loss_that_rises_is_said_with_its_epochs_from_1() -> None:
    assert doubts({}, val_lines(0.9, 0.6, 0.7, 0.91)) == [
        "the val loss rose from 0.6000 after epoch 2 to 0.9100 after epoch 4, whose weights are kept; fewer epochs, or "
        "more augmentation, may do better"
    ]
    best = best_epoch(val_lines(0.9, 0.6, 0.6, 0.65))
    assert best is not None
    assert (best.epoch, best.num_epochs, best.has_risen) == (2, 4, False)
    assert best_epoch([{"kind": "train", "loss": 1.0}]) is None


def test_classes_with_few_test_rows_or_none() -> None:
    assert doubts({"test": measured([[20, 0, 0], [1, 2, 0], [0, 0, 0]])}, []) == [
        "1 of 3 classes have no test rows, so nothing is known of them: 'emu'",
        "1 of 3 classes have fewer than 10 test rows, so their figures say little: 'dog' 3",
    ]
