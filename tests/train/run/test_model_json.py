"""A warm start: what fits is told before Spark starts, and columns of the last layer go by the names of classes."""

import json

import numpy as np
import pytest
from manifests import sample_of

from balanced_data import write_balanced
from farandole.config.data import Image
from farandole.config.train import Model
from farandole.errors import ConfigError, DataError
from farandole.train.models.build import build_model
from farandole.train.run.model_json import SavedModel, check_warm_start, describe_classes, read_saved_model
from farandole.train.run.saved_model import load_weights_into, save_model

SAVED = SavedModel(
    name="resnet9",
    arguments={"filters": [4, 8]},
    precision="float32",
    sample=sample_of(32, 32, 3, class_names=["airplane", "ship"]),
    weights_sha256="0",
)


def put(directory, **changed):
    directory.mkdir(exist_ok=True)
    (directory / "model.json").write_text(json.dumps({**SAVED.model_dump(mode="json"), **changed}))
    return directory


def test_another_size_fits_a_model_that_pools_over_all_of_it(tmp_path):
    check_warm_start(
        put(tmp_path), Model(name="resnet9", arguments={"filters": [4, 8]}), Image(height=64, width=48), ["image"]
    )


def test_the_defaults_are_arguments_too(tmp_path):
    directory = put(tmp_path, arguments={"filters": [64, 128, 256, 512]})
    check_warm_start(directory, Model(name="resnet9"), Image(), ["image"])


@pytest.mark.parametrize(
    ("model", "image", "difference"),
    [
        (Model(name="resnet9"), Image(), r"filters \[4, 8\] -> \[64, 128, 256, 512\]; set these as they were"),
        (Model(name="resnet9", arguments={"filters": [4, 8]}), Image(channels=1), "image.channels 3 -> 1"),
        (Model(name="mlp"), Image(), "model.name resnet9 -> mlp"),
    ],
)
def test_another_model_is_refused_with_the_difference(tmp_path, model, image, difference):
    with pytest.raises(ConfigError, match=f"belong to another model: .*{difference}"):
        check_warm_start(put(tmp_path), model, image, ["image"])


def test_another_size_is_refused_where_weights_depend_on_it(tmp_path):
    directory = put(tmp_path, name="simple_cnn", arguments={})
    with pytest.raises(ConfigError, match=r"another model: image.height 32 -> 16; set"):
        check_warm_start(directory, Model(name="simple_cnn"), Image(height=16, width=32), ["image"])


def test_no_run_is_named_with_the_remedy(tmp_path):
    with pytest.raises(ConfigError, match=r"train.warm_start: .*none/model.json cannot be read: .*name of a finished"):
        check_warm_start(tmp_path / "none", Model(), Image(), ["image"])


def test_classes_are_told():
    assert describe_classes(["a", "b"], ["b", "a"]) == "2 of 2 classes go on with their weights"
    told = "1 of 3 classes go on with their weights, with drawn ones start c, d, left out are a"
    assert describe_classes(["a", "b"], ["b", "c", "d"]) == told


@pytest.mark.parametrize(("name", "arguments"), [("mlp", {"hidden_units": [5]}), ("resnet9", {"filters": [4, 8]})])
def test_columns_go_to_the_classes_of_the_same_names(tmp_path, name, arguments):
    def model(num_classes, seed):
        return build_model(
            name, arguments, image_shape=(8, 8, 1), num_classes=num_classes, seed=seed, precision="float32"
        )

    old = model(3, seed=1)
    manifest = write_balanced(tmp_path, train=[[4]])  # of ant, bee and cat
    chosen = Model(name=name, arguments=arguments)
    save_model(tmp_path / "model", old, chosen=chosen, precision="float32", rules=Image(), manifest=manifest)
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), np.uint8)
    expected = np.asarray(old(images))

    renamed = model(3, seed=2)
    load_weights_into(renamed, tmp_path / "model", ["zebra", "ant", "bee"])
    drawn = np.asarray(renamed(images))
    np.testing.assert_allclose(drawn[:, 1:], expected[:, :2], rtol=1e-5, atol=1e-6)
    assert not np.allclose(drawn[:, 0], expected[:, 2])

    more = model(4, seed=3)
    load_weights_into(more, tmp_path / "model", ["adder", "ant", "bee", "cat"])
    np.testing.assert_allclose(np.asarray(more(images))[:, 1:], expected, rtol=1e-5, atol=1e-6)

    same = model(3, seed=4)
    load_weights_into(same, tmp_path / "model", ["ant", "bee", "cat"])
    assert [w.tobytes() for w in same.get_weights()] == [w.tobytes() for w in old.get_weights()]


def test_a_model_of_another_version_is_told_by_its_version(tmp_path):
    with pytest.raises(DataError, match=r"model.json cannot be read: .*schema_version 1; this farandole reads 2"):
        read_saved_model(put(tmp_path, schema_version=1))
