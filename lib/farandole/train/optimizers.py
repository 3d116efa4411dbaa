"""Muon: steps whose matrices have singular values near one, for convolution kernels."""

from typing import Any

import keras
import tensorflow as tf

NUM_ITERATIONS = 3
"""How often the polynomial is applied to a matrix in one step."""
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""The coefficients of the odd polynomial of degree 5 that takes singular values from (0, 1] to about 0.7 to
1.2 in few iterations."""


class Muon(keras.optimizers.Optimizer):
    """Muon (Jordan 2024, in the form of airbench94) for kernels of rank 4, Nesterov momentum for all else.

    A kernel is taken as a matrix of one row per filter. It is scaled to the Frobenius norm sqrt(number of filters)
    before every step, and so needs no weight decay. Keras' own Muon leaves convolutions to Adam.
    """

    def __init__(
        self,
        learning_rate: float,
        *,
        momentum: float,
        other_learning_rate: float,
        other_momentum: float,
        weight_decay: float,
    ) -> None:
        """Args:
        learning_rate: of kernels; learning rates of others rise and fall with it.
        momentum: of kernels.
        other_learning_rate: of others, while learning_rate is as given here.
        other_momentum: of others.
        weight_decay: of others, added to their gradients.
        """
        super().__init__(learning_rate, name="muon")
        self._momentum, self._other_momentum, self._decay = momentum, other_momentum, weight_decay
        self._ratio = other_learning_rate / learning_rate

    def build(self, variables: list[Any]) -> None:
        if self.built:
            return
        super().build(variables)
        self._velocities = [self.add_variable_from_reference(variable, name="velocity") for variable in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        velocity = self._velocities[self._get_variable_index(variable)]
        if len(variable.shape) == 4:
            update = self._nesterov(velocity, gradient, self._momentum)
            matrix = tf.reshape(update, [-1, variable.shape[-1]])
            step = tf.reshape(orthogonalized(matrix), variable.shape)
            norm = tf.sqrt(tf.reduce_sum(variable**2))
            variable.assign(variable * (variable.shape[-1] ** 0.5 / norm) - learning_rate * step)
        else:
            update = self._nesterov(velocity, gradient + self._decay * variable, self._other_momentum)
            variable.assign_sub(learning_rate * self._ratio * update)

    @staticmethod
    def _nesterov(velocity: Any, gradient: Any, momentum: float) -> Any:
        velocity.assign(momentum * velocity + gradient)
        return gradient + momentum * velocity


def orthogonalized(matrix: Any) -> Any:
    """A matrix with the same singular vectors, and singular values near one, by Newton-Schulz iterations.

    Args:
        matrix: float32 [m, n].
    """
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else tf.transpose(matrix)
    x = x / (tf.sqrt(tf.reduce_sum(x**2)) + 1e-7)  # no singular value is above one then
    a, b, c = COEFFICIENTS
    for _ in range(NUM_ITERATIONS):
        square = tf.matmul(x, x, transpose_b=True)
        x = a * x + tf.matmul(b * square + c * tf.matmul(square, square), x)
    return x if wide else tf.transpose(x)
