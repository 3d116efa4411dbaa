"""Layers of our own beside what Keras and NumPy compute; sums over ranks are those of one rank here."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from farandole.train.models import layers as layers_module
from farandole.train.models.layers import GlobalBatchNorm, PatchWhitening, counting, gelu

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    monkeypatch.setattr(layers_module, "sum_tensors", list)
    keras.config.set_dtype_policy("float32")


def test_whitened_patches_are_uncorrelated_and_of_equal_variance():
    smooth = RNG.normal(size=(40, 6, 6, 3)).cumsum(axis=1).cumsum(axis=2)
    images = ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)
    layer = PatchWhitening()
    layer.build((None, 6, 6, 3))
    assert not layer(images).numpy().any()
    layer.fit(images, epsilon=0.0)
    maps = layer(images).numpy()
    assert maps.shape == (40, 5, 5, 24)
    values = maps[..., :12].reshape(-1, 12).astype(np.float64)
    np.testing.assert_allclose(values.T @ values / len(values), np.eye(12), atol=2e-3)
    np.testing.assert_allclose(maps[..., 12:], -maps[..., :12], atol=1e-4)


def test_constant_channels_do_not_blow_up():
    layer = PatchWhitening()
    layer.build((None, 4, 4, 1))
    layer.fit(np.full((3, 4, 4, 1), 7, np.uint8))
    assert np.isfinite(layer(np.zeros((1, 4, 4, 1), np.uint8)).numpy()).all()


def both_norms(x, dy):
    """Output, gradients of x and bias, and moving statistics, of our layer and of Keras' own."""
    found = []
    for layer in (GlobalBatchNorm(0.6, 1e-3), keras.layers.BatchNormalization(momentum=0.6, epsilon=1e-3, scale=False)):
        layer.build(x.shape)
        layer.trainable_variables[0].assign(np.arange(x.shape[-1], dtype=np.float32))
        with tf.GradientTape() as tape:
            source = tf.convert_to_tensor(x)
            tape.watch(source)
            y = layer(source, training=True)
        variables = [source, layer.trainable_variables[0].value]
        gradients = tape.gradient(y, variables, output_gradients=tf.convert_to_tensor(dy))
        found.append([y, *gradients, layer.moving_mean, layer.moving_variance, layer(source, training=False)])
    return found


def test_batch_norm_of_one_rank_is_that_of_keras():
    x, dy = (RNG.normal(2.0, 3.0, (8, 5, 5, 4)).astype(np.float32) for _ in range(2))
    for mine, theirs in zip(*both_norms(x, dy), strict=True):
        # Keras corrects the moving variance for the size of the sample, by 200 / 199 here.
        np.testing.assert_allclose(mine, theirs, rtol=6e-3, atol=2e-5)
    y, dx, *_ = zip(*both_norms(x, dy), strict=True)
    np.testing.assert_allclose(*y, atol=2e-5)
    np.testing.assert_allclose(*dx, atol=2e-5)


def test_nan_does_not_reach_the_moving_statistics():
    layer = GlobalBatchNorm()
    layer.build((None, 2, 2, 1))
    layer(tf.fill([3, 2, 2, 1], np.nan), training=True)
    assert [float(v) for v in (layer.moving_mean[0], layer.moving_variance[0])] == [0.0, 1.0]


def test_statistics_are_those_of_all_ranks(monkeypatch):
    """What another rank adds to the sums is given: rows of the same distribution, so that the union is known."""
    x, other = RNG.normal(1.0, 2.0, (2, 6, 3, 3, 2)).astype(np.float32)

    def with_other(tensors):
        values, pixels = other.reshape(-1, 2).astype(np.float64), 6 * 9
        return [tensors[0] + np.concatenate([values.sum(axis=0), (values**2).sum(axis=0), [pixels]])]

    monkeypatch.setattr(layers_module, "sum_tensors", with_other)
    y, mean, variance = layers_module.normalize_globally(tf.constant(x), tf.zeros([2]), 0.0)
    union = np.concatenate([x, other]).reshape(-1, 2)
    np.testing.assert_allclose(mean, union.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(variance, union.var(axis=0), atol=1e-5)
    np.testing.assert_allclose(y, (x - union.mean(axis=0)) / union.std(axis=0), atol=1e-5)


def test_a_blank_row_adds_nothing_and_has_no_gradient(monkeypatch):
    """The other ranks' sums are one everywhere; the loss of a blank row counts for nothing, what comes in is zero."""
    sums = []
    monkeypatch.setattr(layers_module, "sum_tensors", lambda tensors: sums.extend(tensors) or [tensors[0] + 1.0])
    x = tf.constant(RNG.normal(7.0, 1.0, (1, 3, 3, 2)), tf.float32)
    with tf.GradientTape() as tape, counting(tf.zeros([1])):
        tape.watch(x)
        y, *_ = layers_module.normalize_globally(x, tf.zeros([2]), 1e-3)
    gradient = tape.gradient(y, x, output_gradients=tf.zeros_like(y))
    assert not np.any(sums[0])
    assert not np.any(gradient)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("bfloat16", 2e-2)])
def test_gelu_and_its_gradient(dtype, tolerance):
    x = tf.cast(np.linspace(-5.0, 5.0, 101), dtype)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        wide = tf.cast(x, tf.float32)
        mine, theirs = gelu(x), tf.nn.gelu(wide, approximate=False)
    assert mine.dtype == dtype
    np.testing.assert_allclose(tf.cast(mine, tf.float32), theirs, atol=tolerance)
    gradients = (tf.cast(tape.gradient(y, x), tf.float32) for y in (mine, theirs))
    np.testing.assert_allclose(*gradients, atol=tolerance)
