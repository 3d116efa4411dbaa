"""Layers that are fitted to the train split, by the leader alone."""

import numpy as np
import pytest

from balanced_data import write_balanced
from farandole.core.batches.reader import SplitFiles
from farandole.core.rank_spec import World
from farandole.train.models.build import build_model
from farandole.train.run import start_weights as module


@pytest.fixture
def train(tmp_path):
    return SplitFiles(tmp_path, write_balanced(tmp_path, train=[[30, 10]], side=17), "train")


def build():
    shape = {"image_shape": (17, 17, 1), "num_classes": 3, "seed": 0, "precision": "float32"}
    return build_model("whitened_cnn", {"filters": [4]}, **shape)


def test_large_images_are_fewer(monkeypatch, train):
    """Of 17 x 17 pixels, so that 3 of the 40 fit."""
    monkeypatch.setattr(module, "sum_tensors", list)
    monkeypatch.setattr(module, "FITTED_PIXELS", 3 * 17 * 17 + 5)
    fitted = []
    monkeypatch.setattr(module.PatchWhitening, "fit", lambda layer, images: fitted.append(len(images)))
    module.start_weights(build(), train, None, World(0, 1, 0, 1, 0, 1), [])
    assert fitted == [3]


@pytest.mark.parametrize("rank", [0, 1])
def test_the_leader_fits_and_the_others_take_its_sum(monkeypatch, train, rank):
    monkeypatch.setattr(module, "sum_tensors", list)
    model = build()
    module.start_weights(model, train, None, World(rank, 2, rank, 2, 0, 1), [])
    mean, kernel = model.layers[1].mean.numpy(), model.layers[1].kernel.numpy()
    if rank:
        assert not mean.any()
        assert not kernel.any()
    else:
        assert 0.2 < mean[0] < 0.8
        assert np.abs(kernel).max() > 0.1
