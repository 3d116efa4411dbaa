"""One class a row: cross-entropy of logits, and counts by true and predicted class."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from farandole.core.dataset.sample import Sample
from farandole.core.metrics.classification import Counts, classification_metrics
from farandole.train.tasks.task import Task, Tensors


def classification(
    sample: Sample, *, class_weights: Sequence[float] | None = None, label_smoothing: float = 0.0
) -> Task:
    """The outputs are logits, [n, classes].

    Args:
        sample: what a row holds.
        class_weights: what the loss of a row of each class is multiplied with; it counts as one row all the same.
        label_smoothing: train.label_smoothing.
    """
    num_classes, target = len(sample.class_names), sample.classes
    factors = tf.constant([1.0] * num_classes if class_weights is None else class_weights, tf.float32)

    def losses(logits: Any, values: Tensors) -> tuple[Any, Any]:
        labels = values[target]
        if label_smoothing:
            wanted = tf.one_hot(labels, num_classes) * (1.0 - label_smoothing) + label_smoothing / num_classes
            found = tf.nn.softmax_cross_entropy_with_logits(labels=wanted, logits=logits)
        else:
            found = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        return found * tf.gather(factors, labels), tf.ones_like(found)

    def hits(logits: Any, values: Tensors) -> Any:
        return tf.cast(tf.argmax(logits, axis=1, output_type=tf.int32) == values[target], tf.float32)

    def predictions(logits: Any, values: Tensors) -> Tensors:
        return {
            "predicted": tf.argmax(logits, axis=1),
            "confidence": tf.reduce_max(tf.nn.softmax(logits), axis=1),
            "loss": tf.nn.sparse_softmax_cross_entropy_with_logits(labels=values[target], logits=logits),
        }

    def count(total: np.ndarray, values: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> None:
        Counts(total, num_classes).add(values[target], found["predicted"], found["loss"])

    return Task(
        losses=losses,
        hits=hits,
        predictions=predictions,
        zero=lambda: Counts.zero(num_classes).vector,
        count=count,
        figures=lambda total: classification_metrics(Counts(total, num_classes), sample.class_names),
        headline=("num_rows", "loss", "accuracy", "balanced_accuracy", "macro_f1"),
    )
