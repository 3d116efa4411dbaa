"""One optimizer step over all ranks, as one TensorFlow graph."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from farandole.config.train import Train
from farandole.core.dataset.sample import Sample
from farandole.train.horovod.distributed import sum_tensors
from farandole.train.models.build import model_inputs
from farandole.train.models.layers import GlobalBatchNorm, counting
from farandole.train.optimizers import Muon
from farandole.train.tasks.task import Task, Tensors


@dataclass(frozen=True)
class StepResult:
    """What a step found in its global batch: the same on every rank."""

    loss_sum: float
    """The sum of the losses of the rows of the global batch, each times its weight."""
    num_correct: int
    is_finite: bool
    """Whether the loss and every gradient are: if not, no rank applied anything."""


class TrainStep:
    """Gradients and weights of rows are summed over all ranks; then the ones are divided by the other.

    So a rank that holds one row more than another counts one row more: slices of any sizes are exact, and
    2 ranks with 8 rows each compute what 1 rank computes with 16, up to the rounding of float32 additions.
    """

    def __init__(self, model: Any, train: Train, sample: Sample, task: Task) -> None:
        self.optimizer = make_optimizer(train)
        self.optimizer.build(model.trainable_variables)
        self._model = model
        self._train = train
        self._task = task
        self._num_sums = tf.Variable(0, trainable=False, dtype=tf.int64)
        self._num_steps = 0
        self._sums_inside = any(isinstance(layer, GlobalBatchNorm) for layer in model.layers)
        self._sample = sample
        scalar = tf.TensorSpec([], tf.float32)
        counted = tf.TensorSpec([None], tf.float32)
        signature = [signature_of(sample), counted, scalar]
        # AutoGraph would leave files in the temporary directory of a rank that ends without a farewell, as they all do.
        self._graph = tf.function(self._compute, input_signature=signature, autograph=False)

    def trace(self) -> None:
        """Builds the graph, if it is not there yet: the first step would do it otherwise."""
        self._graph.get_concrete_function()

    def __call__(self, values: Tensors, *, learning_rate: float) -> StepResult:
        """Applies one step.

        Args:
            values: this rank's rows by feature, [n, *shape]; n may be 0.
            learning_rate: of this step.
        """
        counted = np.ones(len(values[self._sample.classes]), np.float32)
        if not len(counted):  # TensorFlow's convolutions on CPU fail on no rows: one blank row then counts for nothing
            values = {name: np.zeros((1, *one.shape), one.dtype) for name, one in self._sample.features.items()}
            counted = np.zeros(1, np.float32)
        self._num_steps += 1
        loss_sum, num_correct, finite = self._graph(values, counted, learning_rate)
        return StepResult(float(loss_sum), int(num_correct), bool(finite))

    def has_entered_sum(self) -> bool:
        """Whether the newest step has its own gradients and is at their sum over ranks, or past it. Any thread."""
        # Batch norm sums on the way, too: whoever stands still in such a model may be waiting. Not in its first step,
        # which builds and compiles, and may take long.
        inside = self._sums_inside and self._num_steps > 1
        return inside or bool(self._num_sums.numpy() >= self._num_steps)

    def alone(self, values: Tensors) -> tuple[np.ndarray, bool]:
        """Losses times weights of these rows, float32 [n], and whether the gradients are finite; on this rank alone."""
        with tf.GradientTape() as tape:  # not as in training: layers may then ask other ranks for their statistics
            losses, weights = self._task.losses(self._outputs(values, training=False), values)
            losses *= weights
            loss_sum = tf.reduce_sum(losses)
        gradients = tape.gradient(loss_sum, self._model.trainable_variables)
        return losses.numpy(), all(np.isfinite(gradient.numpy()).all() for gradient in gradients)

    def _outputs(self, values: Tensors, *, training: bool) -> Any:
        return tf.cast(self._model(model_inputs(self._sample, values), training=training), tf.float32)

    def _compute(self, values: Tensors, counted: Any, learning_rate: Any) -> tuple[Any, Any, Any]:
        variables = self._model.trainable_variables
        with tf.GradientTape() as tape, counting(counted):
            outputs = self._outputs(values, training=True)
            losses, weights = self._task.losses(outputs, values)
            weights *= counted
            loss_sum = tf.reduce_sum(losses * weights)
        gradients = tape.gradient(loss_sum, variables)
        hits = self._task.hits(outputs, values)
        with tf.control_dependencies(gradients):
            self._num_sums.assign_add(1)
        totals = tf.stack([loss_sum, tf.reduce_sum(weights), tf.reduce_sum(hits * counted)])
        if self._train.gradient_compression == "float16":
            # What goes above float16's largest number (65,504) is infinite, and ends the run.
            halves = sum_tensors([tf.cast(gradient, tf.float16) for gradient in gradients])
            gradients = [tf.cast(half, tf.float32) for half in halves]
            (totals,) = sum_tensors([totals])
        else:
            *gradients, totals = sum_tensors([*gradients, totals])
        gradients = [gradient / totals[1] for gradient in gradients]
        if self._train.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, self._train.clip_norm)
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(tensor)) for tensor in (*gradients, totals)])

        def apply() -> bool:
            self.optimizer.learning_rate.assign(learning_rate)
            self.optimizer.apply(gradients, variables)
            return True

        tf.cond(finite, apply, lambda: False)  # the sums are the same on every rank, so all take the same branch
        return totals[0], totals[2], finite


def signature_of(sample: Sample) -> Tensors:
    """What a graph is given of a batch, whatever its number of rows."""
    return {name: tf.TensorSpec([None, *one.shape], one.dtype) for name, one in sample.features.items()}


def make_optimizer(train: Train) -> Any:
    """The Keras optimizer that the config names; its learning rate is set anew at every step."""
    if train.optimizer == "sgd":
        decay = train.weight_decay or None
        return keras.optimizers.SGD(train.learning_rate, momentum=train.momentum, nesterov=True, weight_decay=decay)
    if train.optimizer == "muon":
        return Muon(
            train.learning_rate,
            momentum=train.momentum,
            other_learning_rate=train.other_learning_rate,
            other_momentum=train.other_momentum,
            weight_decay=train.weight_decay,
        )
    if train.optimizer == "adamw":
        return keras.optimizers.AdamW(train.learning_rate, weight_decay=train.weight_decay)
    return keras.optimizers.Adam(train.learning_rate)
