"""Models by name, saved as names, arguments and tensors."""

import json

import numpy as np
import pytest
import tensorflow as tf

from balanced_data import write_balanced
from farandole.config.data import Image
from farandole.config.train import Model
from farandole.core.dataset.manifest import Stats
from farandole.core.dataset.sample import Feature
from farandole.errors import ConfigError, DataError
from farandole.train.models.build import build_for, build_model, model_inputs
from farandole.train.models.images import passing_on
from farandole.train.models.layers import Standardize
from farandole.train.run.saved_model import load_model, load_weights_into, save_model

SHAPE = {"image_shape": (32, 32, 3), "num_classes": 10, "seed": 0, "precision": "float32"}


def test_reference_cnn_has_the_documented_weights():
    model = build_model("simple_cnn", {}, **SHAPE)
    assert model.count_params() == 122_570
    assert model(np.zeros((2, 32, 32, 3), np.uint8)).shape == (2, 10)


@pytest.mark.parametrize(("name", "weights"), [("resnet9", 6_575_360), ("whitened_cnn", 1_973_947)])
def test_models_with_batch_norm(name, weights):
    model = build_model(name, {}, **SHAPE)
    assert model.count_params() == weights
    assert model(np.zeros((2, 32, 32, 3), np.uint8)).shape == (2, 10)


def test_kernels_that_pass_inputs_on():
    kernel = np.asarray(passing_on((3, 3, 2, 5), "float32"))
    image = np.random.default_rng(0).normal(size=(1, 4, 4, 2)).astype(np.float32)
    maps = tf.nn.conv2d(image, kernel, 1, "SAME").numpy()
    np.testing.assert_array_equal(maps[..., :2], image)
    assert len({tuple(filters.ravel()) for filters in np.moveaxis(kernel, 3, 0)}) == 5
    assert np.abs(kernel[..., 2:]).max() <= 18**-0.5


def test_bfloat16_computes_in_bfloat16_and_answers_in_float32():
    model = build_model("simple_cnn", {}, **{**SHAPE, "precision": "bfloat16"})
    convolution = next(layer for layer in model.layers if "conv" in layer.name)
    assert (convolution.compute_dtype, convolution.kernel.dtype) == ("bfloat16", "float32")
    assert model(np.zeros((1, 32, 32, 3), np.uint8)).dtype == "float32"


@pytest.mark.parametrize(("name", "side"), [("simple_cnn", 1), ("simple_cnn", 8), ("simple_cnn", 33), ("mlp", 5)])
@pytest.mark.parametrize("rows", [1, 3])
def test_any_image_size_and_batch_gives_float32_logits(name, side, rows):
    model = build_model(name, {}, **{**SHAPE, "image_shape": (side, side, 1), "num_classes": 4})
    logits = model(np.zeros((rows, side, side, 1), np.uint8))
    assert (logits.shape, logits.dtype) == ((rows, 4), "float32")


@pytest.mark.parametrize("name", ["simple_cnn", "mlp", "resnet9", "whitened_cnn"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_numbers_beside_the_picture_are_standardized(name, precision):
    numbers = {"heat": Stats(mean=[50.0], std=[10.0]), "floor": Stats(mean=[3.0], std=[0.0])}
    model = build_model(name, {}, **{**SHAPE, "precision": precision}, numbers=numbers)
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    given = [np.array([[heat, 3.0]], np.float32).repeat(3, axis=0) for heat in (50.0, 60.0, 70.0)]
    logits = [model([images, one[:, :1], one[:, 1:]]).numpy() for one in given]
    assert all(one.dtype == np.float32 and np.isfinite(one).all() for one in logits)
    assert (logits[0] != logits[1]).any()
    scale = next(layer for layer in model.layers if isinstance(layer, Standardize))
    np.testing.assert_array_equal(scale(given[2]).numpy().astype(np.float32), [[2.0, 0.0]] * 3)
    assert not any(weight is mine for weight in model.trainable_variables for mine in scale.variables)


def test_a_saved_model_keeps_what_its_numbers_are_scaled_by(tmp_path):
    plain = write_balanced(tmp_path / "data", train=[[4]])
    features = {**plain.sample.features, "heat": Feature(dtype="float32")}
    sample = plain.sample.model_copy(update={"features": features, "inputs": ["image", "heat"]})
    stats = {**plain.stats, "heat": Stats(mean=[50.0], std=[10.0])}
    model = build_for(sample, "mlp", {}, seed=7, precision="float32", stats=stats)
    save(tmp_path / "model", model, plain.model_copy(update={"sample": sample}))
    values = {"image": np.zeros((2, 8, 8, 1), np.uint8), "heat": np.array([40.0, 70.0], np.float32)}
    loaded, description = load_model(tmp_path / "model")
    given = model_inputs(description.sample, values)
    assert loaded(given).numpy().tobytes() == model(given).numpy().tobytes()
    assert description.sample.inputs == ["image", "heat"]


def test_the_seed_decides_the_initial_weights():
    one, same, other = (build_model("mlp", {}, **{**SHAPE, "seed": seed}).get_weights()[0] for seed in (1, 1, 2))
    assert one.tobytes() == same.tobytes() != other.tobytes()


def test_what_the_table_of_limits_lets_through_keras_may_refuse(monkeypatch):
    monkeypatch.setattr("farandole.train.models.build.check_model", lambda *_, **__: None)
    with pytest.raises(ConfigError, match=r"model mlp cannot be built with model.arguments {'hidden_units': \[-1\]}"):
        build_model("mlp", {"hidden_units": [-1]}, **SHAPE)


def save(directory, model, manifest, **arguments):
    chosen = Model(name="mlp", arguments=arguments)
    save_model(directory, model, chosen=chosen, precision="float32", rules=Image(), manifest=manifest)


@pytest.fixture
def saved(tmp_path):
    manifest = write_balanced(tmp_path / "data", train=[[4]])
    shape = {"image_shape": (8, 8, 1), "num_classes": 3, "seed": 7, "precision": "float32"}
    model = build_model("mlp", {"hidden_units": [5]}, **shape)
    save(tmp_path / "model", model, manifest, hidden_units=[5])
    return tmp_path / "model", model


def test_a_saved_model_computes_the_same(saved):
    directory, model = saved
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1), np.uint8)
    expected = model(images).numpy()
    loaded, description = load_model(directory)
    assert loaded(images).numpy().tobytes() == expected.tobytes()
    assert description.sample.class_names == ["ant", "bee", "cat"]


def test_changed_weights_and_descriptions_are_refused(saved):
    directory, _ = saved
    description = json.loads((directory / "model.json").read_text())
    (directory / "model.json").write_text(json.dumps({**description, "name": "os.system"}))
    with pytest.raises(ConfigError, match=r"received 'os.system'"):
        load_model(directory)
    (directory / "model.json").write_text(json.dumps({**description, "code": "import os"}))
    with pytest.raises(DataError, match=r"model.json cannot be read: Extra inputs are not permitted"):
        load_model(directory)
    (directory / "model.json").write_text(json.dumps(description))
    (directory / "weights.safetensors").write_bytes(b"cos\nsystem\n.")
    with pytest.raises(DataError, match="the file was changed or damaged"):
        load_model(directory)


def test_a_warm_start_takes_weights_of_the_same_layers_only(tmp_path):
    manifest = write_balanced(tmp_path, train=[[4]])
    small = {"image_shape": (8, 8, 1), "num_classes": 3, "seed": 1, "precision": "float32"}
    model = build_model("mlp", {}, **small)
    save(tmp_path / "model", model, manifest)
    other = build_model("mlp", {}, **{**small, "seed": 2})
    load_weights_into(other, tmp_path / "model", manifest.class_names)
    assert [w.tobytes() for w in other.get_weights()] == [w.tobytes() for w in model.get_weights()]
    wider = build_model("mlp", {"hidden_units": [7]}, **small)
    with pytest.raises(DataError, match=r"train.warm_start from .*: .*model/0000/dense/kernel \(64, 128\), expected"):
        load_weights_into(wider, tmp_path / "model", manifest.class_names)
    with pytest.raises(DataError, match=r"none/model.json cannot be read"):
        load_weights_into(wider, tmp_path / "none", manifest.class_names)
