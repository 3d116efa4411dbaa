"""Augmentation of a rank's batches: what is done to an image depends on its id, its copy, the epoch and the seed alone.

So it is the same for any number of ranks and after any resume, and the copies that oversampling made of one image
differ from each other.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from farandole.config.train import Augment
from farandole.core.batches.reader import Batch
from farandole.core.fingerprint import row_keys


def augmented(batches: Iterator[Batch], rules: Augment, *, seed: int, epoch: int, fill: list[float]) -> Iterator[Batch]:
    """Passes batches on, augmented by `rules`; without any rule they pass untouched.

    Args:
        batches: of the train split.
        rules: the config section.
        seed: train.seed.
        epoch: from 0; each draws anew.
        fill: the colour of cut-out squares, 0 to 255, one number per channel.
    """
    if rules == Augment():
        return batches
    return (augment(batch, rules, seed=seed, epoch=epoch, fill=fill) for batch in batches)


def augment(batch: Batch, rules: Augment, *, seed: int, epoch: int, fill: list[float]) -> Batch:
    """One batch, augmented; images uint8 [n, height, width, channels] go to a new array of the same shape."""
    num_rows, height, width, channels = batch.values["image"].shape
    flip = _flips(batch, rules, seed, epoch)
    down, right = (_offsets(batch, rules.translate_pixels, seed, epoch, axis) for axis in ("down", "right"))
    rows = _reflect(np.arange(height) - down[:, None], height)
    columns = _reflect(np.arange(width) - right[:, None], width)
    columns = np.where(flip[:, None], columns[:, ::-1], columns)
    # One gather does it all: pixel [y, x] of image i comes from [rows[i, y], columns[i, x]]. On flat positions it takes
    # a quarter of the time that three index arrays take.
    positions = ((np.arange(num_rows)[:, None] * height + rows) * width)[:, :, None] + columns[:, None, :]
    images = np.take(batch.values["image"].reshape(-1, channels), positions, axis=0)
    if rules.cutout_pixels:
        _cut_out(images, batch, rules.cutout_pixels, seed, epoch, np.rint(fill).astype(np.uint8))
    return replace(batch, values=batch.values | {"image": images})


def _flips(batch: Batch, rules: Augment, seed: int, epoch: int) -> np.ndarray:
    """bool [n]. "alternate" draws once for all epochs, then turns over in every epoch (Jordan 2024, airbench94)."""
    if rules.flip == "none":
        return np.zeros(len(batch), bool)
    if rules.flip == "alternate":
        return _draw(batch, seed, 0, "flip", 2) != epoch % 2
    return _draw(batch, seed, epoch, "flip", 2) == 1


def _offsets(batch: Batch, most: int, seed: int, epoch: int, axis: str) -> np.ndarray:
    return _draw(batch, seed, epoch, axis, 2 * most + 1) - most


def _cut_out(images: np.ndarray, batch: Batch, side: int, seed: int, epoch: int, fill: np.ndarray) -> None:
    """Fills a square whose centre may be any pixel, so that it can stick out (DeVries and Taylor 2017)."""
    _, height, width, _ = images.shape
    inside = []
    for axis, length in (("cut down", height), ("cut right", width)):
        first = _draw(batch, seed, epoch, axis, length)[:, None] - side // 2
        inside.append((np.arange(length) >= first) & (np.arange(length) < first + side))
    images[inside[0][:, :, None] & inside[1][:, None, :]] = fill


def _reflect(positions: np.ndarray, length: int) -> np.ndarray:
    """Positions that stick out by less than `length` come back from the border, which is not repeated."""
    positions = np.abs(positions)
    return np.where(positions < length, positions, 2 * (length - 1) - positions)


def _draw(batch: Batch, seed: int, epoch: int, purpose: str, num_values: int) -> np.ndarray:
    """Integers below num_values, int64 [n], uniform up to a bias of num_values / 2**64."""
    keys = row_keys(batch.id_hashes, batch.copies, seed, f"augment:{epoch}:{purpose}")
    return (keys % np.uint64(num_values)).astype(np.int64)
