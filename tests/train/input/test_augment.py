"""Augmentation is a function of image id, copy, epoch and seed; what it does to pixels is checked by hand."""

from dataclasses import replace

import numpy as np
import pytest

from farandole.config.train import Augment
from farandole.core.batches.reader import Batch
from farandole.core.fingerprint import hash_ids
from farandole.train.input.augment import augment, augmented

FILL = [7.4, 8.6, 9.0]


def batch_of(num_rows: int, *, side: int = 6, copies: int = 0) -> Batch:
    pixels = np.random.default_rng(0).integers(20, 255, (num_rows, side, side, 3)).astype(np.uint8)
    return Batch(
        {"image": pixels, "label": np.zeros(num_rows, np.int32)},
        hash_ids([f"image-{i}" for i in range(num_rows)]),
        np.full(num_rows, copies, np.int32),
        np.arange(num_rows),
    )


def images(batch: Batch, *, epoch: int = 0, seed: int = 0, **rules) -> np.ndarray:
    return augment(batch, Augment(**rules), seed=seed, epoch=epoch, fill=FILL).values["image"]


def test_random_flip_mirrors_half_of_the_images_and_leaves_the_rest():
    batch = batch_of(400)
    found = images(batch, flip="random")
    mirrored = (found == batch.values["image"][:, :, ::-1]).all(axis=(1, 2, 3))
    assert ((found == batch.values["image"]).all(axis=(1, 2, 3)) ^ mirrored).all()
    assert 160 < mirrored.sum() < 240


def test_alternate_flip_shows_both_sides_in_any_two_epochs():
    batch = batch_of(50)
    for epoch in (0, 1, 6):
        first, second = (images(batch, flip="alternate", epoch=e) for e in (epoch, epoch + 1))
        assert (first == second[:, :, ::-1]).all()
    assert (images(batch, flip="alternate", epoch=0) != batch.values["image"]).any()
    assert (images(batch, flip="alternate", epoch=0) == images(batch, flip="alternate", epoch=2)).all()


def test_translate_shifts_and_reflects_at_the_border():
    """A row 0 1 2 3 that is shifted right by 2 is 2 1 0 1, and shifted left by 2 it is 2 3 2 1: as numpy's reflect."""
    batch = batch_of(300, side=4)
    padded = np.pad(batch.values["image"], ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    shifts = set()
    for i, found in enumerate(images(batch, translate_pixels=2)):
        offsets = [
            (y, x) for y in range(5) for x in range(5) if (padded[i, y : y + 4, x : x + 4] == found).all()
        ]  # fmt: skip
        assert len(offsets) == 1, i
        shifts.update(offsets)
    assert len(shifts) == 25


def test_cutout_fills_one_square_that_may_stick_out_with_the_mean_colour():
    batch = batch_of(300, side=8)
    found = images(batch, cutout_pixels=4)
    changed = (found != batch.values["image"]).any(axis=3)
    assert (found[changed] == [7, 9, 9]).all()
    sizes = set()
    for mask in changed:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        assert mask.sum() == len(rows) * len(columns)
        sizes.add((len(rows), len(columns)))
    assert max(sizes) == (4, 4)
    assert min(sizes) == (2, 2)


@pytest.mark.parametrize("rules", [{"flip": "random"}, {"translate_pixels": 2}, {"cutout_pixels": 3}])
def test_neither_neighbours_nor_order_matter_but_epoch_seed_and_copy_do(rules):
    batch = batch_of(60)
    whole = images(batch, epoch=3, seed=5, **rules)
    shuffled = np.random.default_rng(1).permutation(60)
    assert (images(batch.take(shuffled), epoch=3, seed=5, **rules) == whole[shuffled]).all()
    assert (images(batch, epoch=4, seed=5, **rules) != whole).any()
    assert (images(batch, epoch=3, seed=6, **rules) != whole).any()
    assert (images(batch_of(60, copies=1), epoch=3, seed=5, **rules) != whole).any()


def test_everything_at_once_on_no_rows_and_one_channel():
    rules = Augment(flip="random", translate_pixels=1, cutout_pixels=2)
    empty = batch_of(3).take(slice(0, 0))
    assert augment(empty, rules, seed=0, epoch=0, fill=FILL).values["image"].shape == (0, 6, 6, 3)
    gray = batch_of(3)
    gray = replace(gray, values=gray.values | {"image": gray.values["image"][..., :1]})
    assert augment(gray, rules, seed=0, epoch=0, fill=[3.0]).values["image"].shape == (3, 6, 6, 1)


def test_without_rules_batches_pass_untouched():
    batch = batch_of(2)
    assert next(augmented(iter([batch]), Augment(), seed=0, epoch=0, fill=FILL)) is batch
    moved = next(augmented(iter([batch]), Augment(translate_pixels=5), seed=0, epoch=0, fill=FILL))
    assert (moved.values["image"] != batch.values["image"]).any()
    assert (moved.rows == batch.rows).all()
