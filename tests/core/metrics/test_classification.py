"""Figures equal scikit-learn's, and do not depend on who counted which rows."""

import pickle
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss, precision_recall_fscore_support

from farandole.core.metrics import classification
from farandole.core.metrics.classification import LARGEST_LOSS, LOSS_SCALE, Counts, classification_metrics
from farandole.core.rank_spec import Outcome, Result
from farandole.errors import DataError

NAMES = ["ant", "bee", "cat", "dog"]


@given(rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=200))
@settings(max_examples=50, deadline=None)
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_equal_to_scikit_learn(rows):
    labels, predicted = (np.array(column) for column in zip(*rows, strict=True))
    counts = Counts.zero(4)
    counts.add(labels, predicted, np.zeros(len(rows)))
    figures = classification_metrics(counts, NAMES)
    assert figures["accuracy"] == accuracy_score(labels, predicted)
    assert figures["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, predicted), abs=1e-15)
    assert figures["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro"), abs=1e-15)
    expected = precision_recall_fscore_support(labels, predicted, labels=range(4), zero_division=0)
    for key, column in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        assert [figures["per_class"][name][key] for name in NAMES] == pytest.approx(list(column), abs=1e-15)


def test_loss_is_the_mean_cross_entropy():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(4), 500)
    labels = np.arange(500) % 4
    counts = Counts.zero(4)
    counts.add(labels, probabilities.argmax(axis=1), -np.log(probabilities[np.arange(500), labels]))
    assert classification_metrics(counts, NAMES)["loss"] == pytest.approx(log_loss(labels, probabilities), abs=1e-7)


@given(cuts=st.lists(st.integers(0, 1000), max_size=7), seed=st.integers(0, 10))
@settings(max_examples=30, deadline=None)
def test_any_division_among_ranks_gives_the_same_bits(cuts, seed):
    rng = np.random.default_rng(seed)
    labels, predicted = rng.integers(0, 4, (2, 1000))
    losses = rng.exponential(1.0, 1000).astype(np.float32)
    whole = Counts.zero(4)
    whole.add(labels, predicted, losses)
    edges = [0, *sorted(cuts), 1000]
    parts = []
    for first, last in pairwise(edges):
        part = Counts.zero(4)
        part.add(labels[first:last], predicted[first:last], losses[first:last])
        parts.append(part.vector)
    total = Counts(np.sum(parts, axis=0), 4)
    assert classification_metrics(total, NAMES) == classification_metrics(whole, NAMES)


def test_losses_are_rounded_to_the_nearest_unit():
    counts = Counts.zero(2)
    counts.add(np.array([0, 0, 0]), np.array([0, 0, 0]), np.array([2.6, 0.4, 7.0]) / LOSS_SCALE)
    assert counts.loss_units == 3 + 0 + 7


def test_no_rows_is_no_division_by_zero():
    figures = classification_metrics(Counts.zero(2), ["a", "b"])
    assert (figures["num_rows"], figures["loss"], figures["accuracy"], figures["macro_f1"]) == (0, 0.0, 0.0, 0.0)


def test_nan_is_refused_and_infinity_is_bounded():
    counts = Counts.zero(2)
    with pytest.raises(DataError, match="1 of 2 rows have a loss of NaN"):
        counts.add(np.array([0, 1]), np.array([0, 1]), np.array([0.5, np.nan]))
    counts.add(np.array([0]), np.array([0]), np.array([np.inf]))
    assert classification_metrics(counts, ["a", "b"])["loss"] == LARGEST_LOSS


def test_without_a_confusion_the_other_figures_are_the_same(monkeypatch):
    labels, predicted = np.random.default_rng(0).integers(0, 4, (2, 300))
    figures = []
    for most in (4, 3):
        monkeypatch.setattr(classification, "MAX_CONFUSION_CLASSES", most)
        counts = Counts.zero(4)
        counts.add(labels, predicted, np.ones(300))
        figures.append(classification_metrics(Counts(counts.vector, 4), NAMES))
    assert np.sum(figures[0].pop("confusion")) == 300
    assert figures[0] == figures[1]


@pytest.mark.parametrize("num_classes", [1000, 5000])
def test_figures_of_many_classes_from_many_ranks_stay_small(num_classes):
    """256 ranks; all that they return together fits spark.driver.maxResultSize, 1 GiB, many times."""
    rng, names = np.random.default_rng(0), [f"class-{number}" for number in range(num_classes)]
    total, results = None, []
    for _rank in range(256):
        counts = Counts.zero(num_classes)
        tracemalloc.start()
        for _ in range(4):
            counts.add(*rng.integers(0, num_classes, (2, 64)), rng.exponential(1.0, 64))
        assert tracemalloc.get_traced_memory()[1] < 1_000_000  # nothing of the size of the table per batch
        tracemalloc.stop()
        own = counts.vector
        total = own if total is None else total + own
    for rank in range(256):
        found = classification_metrics(Counts(total, num_classes), names) if rank == 0 else {}
        results.append(Outcome(rank, "host", Result({"metrics": {"test": found}, "wrong": []})))
    assert results[0].end.result["metrics"]["test"]["num_rows"] == 256 * 4 * 64
    assert len(pickle.dumps(results)) < 2**30 / 100
