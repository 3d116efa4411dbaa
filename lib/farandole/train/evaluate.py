"""Exact evaluation: batches do not depend on the number of ranks, counts are integers, so figures do not either."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from farandole.config.jobs import Evaluate
from farandole.core.batches.reader import SplitFiles, read_rows
from farandole.core.dataset.manifest import Manifest
from farandole.core.rank_spec import Phase, World
from farandole.errors import DataError
from farandole.train.horovod.distributed import sum_integers
from farandole.train.models.build import model_inputs
from farandole.train.progress import Progress
from farandole.train.run.saved_model import load_model
from farandole.train.step import signature_of
from farandole.train.tasks.classification import classification
from farandole.train.tasks.task import Task, Tensors


@dataclass(frozen=True)
class Wrong:
    """A row that the model got wrong, and how sure it was."""

    row: int
    label: int
    predicted: int
    confidence: float
    """The probability, 0 to 1, that the model gave to what it predicted."""


class Evaluator:
    """Runs a model over a split; one traced graph for all splits and epochs."""

    def __init__(
        self, model: Any, manifest: Manifest, task: Task, world: World, rules: Evaluate, progress: Progress
    ) -> None:
        self.task = task
        self._progress = progress
        self._manifest = manifest
        self._world = world
        self._batch_size = rules.batch_size
        self._classes = manifest.sample.classes
        sample, name = manifest.sample, manifest.sample.inputs[0]

        def forward(values: Tensors) -> Tensors:
            outputs = tf.zeros([])
            for weight, view in views(values[name], rules.views):
                shown = model_inputs(sample, {**values, name: view})
                outputs += weight * tf.cast(model(shown, training=False), tf.float32)
            return task.predictions(outputs, values)

        self._forward = tf.function(forward, input_signature=[signature_of(manifest.sample)], autograph=False)

    def run(self, files: SplitFiles, split: str, num_wrong: int = 0) -> tuple[np.ndarray, list[Wrong]]:
        """The task's total over the whole split, the same on every rank, and this rank's most confidently wrong rows.

        Every rank takes whole batches, since a row's float32 loss may depend on the size of the batch it is in.
        """
        num_rows = self._manifest.splits[split].num_rows
        num_batches = -(-num_rows // self._batch_size)
        rank, world_size = self._world.rank, self._world.world_size
        start = rank * num_batches // world_size * self._batch_size
        stop = min(num_rows, (rank + 1) * num_batches // world_size * self._batch_size)
        total = self.task.zero()
        wrong: list[Wrong] = []
        self._progress.enter(Phase.READING)
        for batch in read_rows(files, start, stop, self._batch_size):
            self._progress.enter(Phase.EVALUATING)
            found = {key: tensor.numpy() for key, tensor in self._forward(batch.values).items()}
            self.task.count(total, batch.values, found)
            labels, predicted = batch.values[self._classes], found["predicted"]
            columns = (batch.rows, labels, predicted, found["confidence"])
            wrong += [Wrong(*(column[i].item() for column in columns)) for i in np.flatnonzero(predicted != labels)]
            wrong = sorted(wrong, key=lambda w: (-w.confidence, w.row))[:num_wrong]
            self._progress.enter(Phase.READING)
        self._progress.enter(Phase.SUMMING)
        return sum_integers(total, f"counts.{split}"), wrong

    def final_figures(self, files: dict[str, SplitFiles], num_wrong: int) -> dict[str, Any]:
        """What metrics.json says of val and test, and this rank's most confidently wrong test rows, as plain JSON.

        The leader alone has figures: of 1,000 classes they take megabytes, and those of 256 ranks fill Spark's limit.
        """
        figures: dict[str, Any] = {}
        wrong: list[Wrong] = []
        for split in ("val", "test"):
            if self._manifest.splits[split].num_rows:
                total, found = self.run(files[split], split, num_wrong if split == "test" else 0)
                if self._world.is_leader:
                    figures[split] = self.task.figures(total)
                wrong += found
        return {"metrics": figures, "wrong": [vars(item) for item in wrong]}


def views(images: Any, kind: str) -> list[tuple[float, Any]]:
    """What a model is shown of images [n, height, width, channels], and what each view weighs (Jordan 2024, airbench).

    Args:
        images: uint8.
        kind: evaluate.views.
    """
    shown = [(1.0, images)]
    if kind == "mirrored_shifted":
        height, width = images.shape[1:3]
        padded = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]], "REFLECT")
        shown = [(0.5, images), (0.25, padded[:, :height, :width]), (0.25, padded[:, 2:, 2:])]
    if kind == "plain":
        return shown
    return [(weight / 2, view) for weight, image in shown for view in (image, tf.reverse(image, [2]))]


def evaluate_saved_model(
    directory: Path, rules: Evaluate, manifest: Manifest, data: Path, world: World, progress: Progress
) -> dict[str, Any]:
    """The figures of a saved model on val and test, and this rank's most confidently wrong test rows.

    Raises:
        DataError: the model was trained for other images or classes than the data set has.
    """
    model, saved = load_model(directory)
    if not saved.sample.is_like(manifest.sample):
        raise DataError(f"the model in {directory} is for {saved.sample}; the data set has {manifest.sample}")
    files = {split: SplitFiles(data, manifest, split, progress.read) for split in ("val", "test")}
    evaluator = Evaluator(model, manifest, classification(manifest.sample), world, rules, progress)
    return evaluator.final_figures(files, rules.num_wrong_images)
