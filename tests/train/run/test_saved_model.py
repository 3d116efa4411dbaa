"""A saved model is used for what it was trained for, and for nothing else."""

import pytest

from balanced_data import write_balanced
from farandole.config.load import parse_config
from farandole.core.dataset.sample import Feature
from farandole.core.rank_spec import World
from farandole.core.record.image import RULES_VERSION
from farandole.errors import DataError
from farandole.train.evaluate import evaluate_saved_model
from farandole.train.models.build import build_model
from farandole.train.progress import Progress
from farandole.train.run.saved_model import load_model, save_model

CONFIG = parse_config({"image": {"resize": "crop"}, "model": {"name": "mlp", "arguments": {"hidden_units": [4]}}})


@pytest.fixture
def saved(tmp_path):
    manifest = write_balanced(tmp_path / "balanced", train=[[4]], test=3)
    model = build_model(
        "mlp",
        CONFIG.model.arguments,
        image_shape=manifest.sample.features["image"].shape,
        num_classes=len(manifest.class_names),
        seed=0,
        precision="float32",
    )
    save_model(
        tmp_path / "model",
        model,
        chosen=CONFIG.model,
        precision="float32",
        rules=CONFIG.image,
        manifest=manifest,
    )
    return tmp_path / "model", manifest, model


def other_classes(manifest):
    return {"class_names": [*manifest.class_names[:-1], "yak"]}


def other_image(manifest):
    return {"features": manifest.sample.features | {"image": Feature(dtype="uint8", shape=[99, 8, 1])}}


def test_the_weights_come_back(saved):
    directory, _, model = saved
    loaded, described = load_model(directory)
    assert described.name == "mlp"
    for mine, theirs in zip(loaded.variables, model.variables, strict=True):
        assert mine.numpy().tobytes() == theirs.numpy().tobytes()


def test_it_says_how_its_pictures_are_decoded(saved):
    directory, _, _ = saved
    _, described = load_model(directory)
    assert described.image_rules == CONFIG.image
    assert described.rules_version == RULES_VERSION


def test_whoever_may_read_the_rest_may_read_the_weights(saved):
    directory, _, _ = saved
    (directory / "other").touch()
    assert len({path.stat().st_mode for path in directory.iterdir()}) == 1


@pytest.mark.parametrize("change", [other_classes, other_image])
def test_a_data_set_of_other_images_or_classes_is_refused(saved, tmp_path, change):
    directory, manifest, _ = saved
    other = manifest.model_copy(update={"sample": manifest.sample.model_copy(update=change(manifest))})
    received = "image uint8 99x8x1" if change is other_image else "label of ant, bee, yak"
    with pytest.raises(DataError, match=rf"the model in .*/model is for .*; the data set has .*{received}"):
        evaluate_saved_model(
            directory, CONFIG.evaluate, other, tmp_path / "balanced", World(0, 1, 0, 1, 0, 1), Progress()
        )
