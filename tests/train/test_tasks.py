"""Classification as a task: what is trained on, and what is counted, by hand."""

import numpy as np
import pytest
from manifests import sample_of

from farandole.train.tasks.classification import classification

LOGITS = np.array([[2.0, 0.0, -1.0], [0.0, 0.0, 3.0], [1.0, 1.5, 0.0]], np.float32)
VALUES = {"label": np.array([0, 1, 2], np.int32)}
LOSSES = [np.log(np.exp(row).sum()) - row[label] for row, label in zip(LOGITS, VALUES["label"], strict=True)]


def test_losses_are_weighted_by_class_and_each_row_counts_as_one():
    losses, weights = classification(sample_of(2, 2, 1), class_weights=[1.0, 2.0, 0.5]).losses(LOGITS, VALUES)
    np.testing.assert_allclose(losses, np.array(LOSSES) * [1.0, 2.0, 0.5], rtol=1e-6)
    assert weights.numpy().tolist() == [1.0, 1.0, 1.0]


def test_totals_add_up_over_batches_and_know_nothing_of_weights():
    task = classification(sample_of(2, 2, 1), class_weights=[5.0, 5.0, 5.0], label_smoothing=0.3)
    assert task.hits(LOGITS, VALUES).numpy().tolist() == [1.0, 0.0, 0.0]
    found = {name: np.asarray(one) for name, one in task.predictions(LOGITS, VALUES).items()}
    assert found["predicted"].tolist() == [0, 2, 1]
    np.testing.assert_allclose(found["confidence"][0], np.exp(2) / np.exp(LOGITS[0]).sum(), rtol=1e-6)
    whole, parts = task.zero(), [task.zero(), task.zero()]
    task.count(whole, VALUES, found)
    for total, rows in zip(parts, (slice(0, 1), slice(1, 3)), strict=True):
        task.count(total, {"label": VALUES["label"][rows]}, {name: one[rows] for name, one in found.items()})
    assert np.array_equal(whole, parts[0] + parts[1])
    figures = task.figures(whole)
    assert (figures["num_rows"], figures["accuracy"]) == (3, 1 / 3)
    assert figures["loss"] == pytest.approx(np.mean(LOSSES), rel=1e-6)
    assert figures["confusion"] == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert set(task.headline) <= set(figures)
