"""One optimizer step on one rank: what is applied, and what is not."""

import numpy as np
import pytest
import tensorflow as tf
from manifests import sample_of

from farandole.config.train import Train
from farandole.train import step as step_module
from farandole.train.models.build import build_model
from farandole.train.step import TrainStep
from farandole.train.tasks.classification import classification

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 1), np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2], np.int32)


def rows_of(rows=slice(None)):
    return {"image": IMAGES[rows], "label": LABELS[rows]}


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """A world of one rank, without Horovod: the sum over ranks is the rank's own."""
    monkeypatch.setattr(step_module, "sum_tensors", list)


def make(class_weights=(1.0, 1.0, 1.0), **train):
    shape = {"image_shape": (4, 4, 1), "num_classes": 3, "seed": 0, "precision": "float32"}
    model, sample, config = build_model("mlp", {"hidden_units": [5]}, **shape), sample_of(4, 4, 1), Train(**train)
    task = classification(sample, class_weights=class_weights, label_smoothing=config.label_smoothing)
    return model, TrainStep(model, config, sample, task)


def gradients_of(model, before):
    return [old - new for old, new in zip(before, model.get_weights(), strict=True)]


def test_halves_of_a_batch_add_up_to_the_whole():
    """With plain SGD a step is the sum of gradients over rows, divided by the rows."""
    moves = []
    for rows in (slice(0, 6), slice(0, 2), slice(2, 6)):
        model, step = make(optimizer="sgd", momentum=0.0)
        before = model.get_weights()
        step(rows_of(rows), learning_rate=1.0)
        moves.append(gradients_of(model, before))
    for whole, first, second in zip(*moves, strict=True):
        np.testing.assert_allclose(6 * whole, 2 * first + 4 * second, atol=1e-5)


def test_a_rank_without_rows_adds_nothing(monkeypatch):
    """The other ranks together have gradients of 3 everywhere, and weights of 2."""
    monkeypatch.setattr(
        step_module, "sum_tensors", lambda tensors: [*(one + 3.0 for one in tensors[:-1]), tensors[-1] + 2.0]
    )
    model, step = make(optimizer="sgd", momentum=0.0)
    before = model.get_weights()
    assert step(rows_of(slice(0, 0)), learning_rate=1.0).is_finite
    for move in gradients_of(model, before):
        np.testing.assert_allclose(move, np.full(move.shape, 1.5), atol=1e-6)


def test_class_weights_scale_the_loss_of_their_rows():
    plain = make()[1](rows_of(slice(1)), learning_rate=0.0)
    heavy = make(class_weights=(3.0, 1.0, 1.0))[1](rows_of(slice(1)), learning_rate=0.0)
    assert heavy.loss_sum == pytest.approx(3 * plain.loss_sum, rel=1e-6)


def test_nothing_is_applied_when_clipping_overflows():
    """Gradients around 1e25 are finite, but the square of their norm is not, and clipping makes NaN of them."""
    model, step = make(optimizer="sgd", clip_norm=1.0)
    kernel = model.trainable_variables[-2]
    kernel.assign(np.random.default_rng(0).normal(size=kernel.shape) * 1e25)
    before = model.get_weights()
    result = step(rows_of(), learning_rate=0.1)
    assert np.isfinite(result.loss_sum)
    assert not result.is_finite
    assert all((old == new).all() for old, new in zip(before, model.get_weights(), strict=True))


def test_label_smoothing_by_hand():
    model, step = make(label_smoothing=0.3)
    logits = model(IMAGES[:1]).numpy()[0].astype(np.float64)
    log_softmax = logits - np.log(np.exp(logits).sum())
    target = np.array([0.8, 0.1, 0.1])  # 1 - 0.3 + 0.3 / 3, and 0.3 / 3
    result = step(rows_of(slice(1)), learning_rate=0.0)
    assert result.loss_sum == pytest.approx(-(target * log_softmax).sum(), rel=1e-5)


def test_a_step_can_be_looked_at_alone():
    """Without its sum over ranks, and without changing anything."""
    model, step = make(class_weights=(3.0, 1.0, 1.0))
    before = model.get_weights()
    losses, finite = step.alone(rows_of())
    result = step(rows_of(), learning_rate=0.0)
    assert losses.sum() == pytest.approx(result.loss_sum, rel=1e-6)
    assert (losses.shape, finite) == ((6,), True)
    assert all((old == new).all() for old, new in zip(before, model.get_weights(), strict=True))
    kernel = model.trainable_variables[0]
    kernel.assign(np.full(kernel.shape, 3e38))  # the logits are finite no more
    assert step.alone(rows_of())[1] is False


def test_the_graph_is_built_once_and_before_the_first_step_if_asked():
    model, step = make()
    before = model.get_weights()
    step.trace()
    assert step._graph.experimental_get_tracing_count() == 1
    assert all((old == new).all() for old, new in zip(before, model.get_weights(), strict=True))
    for rows in (6, 2, 0):
        step(rows_of(slice(rows)), learning_rate=0.1)
    assert step._graph.experimental_get_tracing_count() == 1


def test_gradients_travel_as_float16_where_that_is_asked_for(monkeypatch):
    """Those of six rows of a batch of a million, whose means float16 could not hold; the totals travel as float32."""
    sent: list[str] = []

    def sum_tensors(tensors):
        sent.extend(tensor.dtype.name for tensor in tensors)
        others = tf.constant([0.0, 10.0**6 - 6, 0.0])
        return [tensor + others if len(tensors) == 1 or at == 4 else tensor for at, tensor in enumerate(tensors)]

    monkeypatch.setattr(step_module, "sum_tensors", sum_tensors)
    moves, losses = [], []
    for compression in ("none", "float16"):
        model, step = make(optimizer="sgd", momentum=0.0, gradient_compression=compression)
        before = model.get_weights()
        losses.append(step(rows_of(), learning_rate=1e4).loss_sum)
        moves.append(np.concatenate([move.ravel() for move in gradients_of(model, before)]))
    assert sent == ["float32"] * 5 + ["float16"] * 4 + ["float32"]
    assert losses[0] == losses[1]
    assert 0 < np.abs(moves[1] - moves[0]).max() < 2e-3 * np.abs(moves[0]).max()
