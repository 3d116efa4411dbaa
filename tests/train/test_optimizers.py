"""Muon: what a step does to kernels and to all else."""

import keras
import numpy as np
import pytest

from farandole.train.optimizers import Muon, orthogonalized

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (27, 8)])
def test_singular_vectors_stay_and_values_come_near_one(shape):
    matrix = RNG.normal(size=shape).astype(np.float32)
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    inside = left.T @ orthogonalized(matrix).numpy() @ right.T
    np.testing.assert_allclose(inside, np.diag(np.diag(inside)), atol=1e-4)
    assert (np.diag(inside) > 0.3).all()
    assert (np.diag(inside) < 1.3).all()


def steps(variable, gradients, **rates):
    optimizer = Muon(
        0.5, **{"momentum": 0.0, "other_learning_rate": 1.0, "other_momentum": 0.5, "weight_decay": 0.0, **rates}
    )
    optimizer.build([variable])
    for gradient, rate in gradients:
        optimizer.learning_rate.assign(rate)
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
    return optimizer


def test_a_kernel_is_scaled_and_takes_an_orthogonal_step():
    start = RNG.normal(size=(3, 3, 2, 5)).astype(np.float32)
    gradient = RNG.normal(size=start.shape).astype(np.float32)
    kernel = keras.Variable(start)
    steps(kernel, [(gradient, 0.25)])
    scaled = start * np.sqrt(5) / np.linalg.norm(start)
    step = orthogonalized(gradient.reshape(-1, 5)).numpy().reshape(start.shape)
    np.testing.assert_allclose(kernel, scaled - 0.25 * step, atol=1e-5)


def test_all_else_takes_nesterov_steps_by_hand():
    """Rate 1 while learning_rate is 0.5, so 0.5 at 0.25. v = 2, u = 2 + 1: 10 - 3; v = 1 + 4, u = 4 + 2.5: 7 - 3.25."""
    bias = keras.Variable(np.array([10.0], np.float32))
    optimizer = steps(bias, [([2.0], 0.5), ([4.0], 0.25)])
    np.testing.assert_allclose(bias, [3.75])
    assert [np.asarray(v).tolist() for v in optimizer.variables if "velocity" in v.path] == [[5.0]]


def test_weight_decay_is_part_of_the_gradient_of_all_else_and_not_of_kernels():
    bias = keras.Variable(np.array([10.0], np.float32))
    steps(bias, [([0.0], 0.5)], weight_decay=0.1, other_momentum=0.0)
    np.testing.assert_allclose(bias, [9.0])
    kernels = [keras.Variable(np.ones((1, 1, 2, 2), np.float32)) for _ in range(2)]
    for kernel, decay in zip(kernels, (0.0, 0.1), strict=True):
        steps(kernel, [(np.eye(2, dtype=np.float32)[None, None], 0.1)], weight_decay=decay)
    np.testing.assert_array_equal(*kernels)
