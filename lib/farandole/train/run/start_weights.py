"""The weights that a run starts with: those of another run, or drawn ones, fitted to train images where layers ask."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from farandole.core.batches.reader import SplitFiles, read_rows
from farandole.core.rank_spec import World
from farandole.train.horovod.distributed import sum_tensors
from farandole.train.models.layers import PatchWhitening
from farandole.train.run.saved_model import load_weights_into

FITTED_ROWS = 5_000
"""To how many images layers are fitted at most: the first of the train split, which rebalance has shuffled."""
FITTED_PIXELS = FITTED_ROWS * 32 * 32
"""How many pixels the images to which layers are fitted have in all, at most: each takes about 70 bytes then."""


def start_weights(model: Any, train: SplitFiles, warm_start: Path | None, world: World, class_names: list[str]) -> None:
    """Sets the weights before the first step, the same on every rank.

    Args:
        model: as built, with drawn weights.
        train: the files of the train split.
        warm_start: model/ of another run, or None.
        world: only the leader reads and computes; another processor could give other bits.
        class_names: of the model's logits; columns of the other run's last layer are found by them.
    """
    if warm_start:
        load_weights_into(model, warm_start, class_names)
        return
    layers = [layer for layer in model.layers if isinstance(layer, PatchWhitening)]
    if layers and world.is_leader:
        height, width, _ = train.sample.features["image"].shape
        last = min(max(1, FITTED_PIXELS // (height * width)), FITTED_ROWS, int(train.starts[-1]))
        images = np.concatenate([batch.values["image"] for batch in read_rows(train, 0, last, FITTED_ROWS)])
        for layer in layers:
            layer.fit(images)
    for layer in layers:  # all zeros on the other ranks
        weights = layer.get_weights()
        layer.set_weights([total.numpy() for total in sum_tensors([tf.constant(weight) for weight in weights])])
