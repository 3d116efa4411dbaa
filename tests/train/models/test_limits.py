"""The table of what models take says what Keras would say, and says it first."""

import inspect

import numpy as np
import pytest

from farandole.errors import ConfigError
from farandole.train.models.build import MODELS, build_model
from farandole.train.models.limits import LIMITS, check_model

SMALL = {"resnet9": {"filters": [2, 3, 4]}, "whitened_cnn": {"filters": [24, 3]}}
"""Arguments that make small models, and others than the defaults."""


def built(name, arguments, side):
    return build_model(name, arguments, image_shape=(side, side, 3), num_classes=4, seed=0, precision="float32")


def test_the_table_is_that_of_the_functions():
    assert list(LIMITS) == list(MODELS)
    for name, model in MODELS.items():
        keywords = [p for p in inspect.signature(model).parameters.values() if p.kind is p.KEYWORD_ONLY]
        defaults = {p.name: list(p.default) if isinstance(p.default, tuple) else p.default for p in keywords}
        assert LIMITS[name].arguments == defaults


@pytest.mark.parametrize("name", list(MODELS))
def test_the_smallest_image_is_the_smallest_that_keras_builds(name, monkeypatch):
    arguments = SMALL.get(name, {})
    least = LIMITS[name].least_side(check_model(name, arguments, height=99, width=99))
    model = built(name, arguments, least)
    assert np.isfinite(model(np.zeros((1, least, least, 3), np.uint8))).all()
    if least > 1:
        monkeypatch.setattr("farandole.train.models.build.check_model", lambda *_, **__: None)
        with pytest.raises(ConfigError, match="cannot be built"):
            built(name, arguments, least - 1)
    with pytest.raises(ConfigError, match=f"takes images of {least} pixels a side or more; received image.height"):
        check_model(name, arguments, height=64, width=least - 1)


@pytest.mark.parametrize("name", list(MODELS))
def test_whether_weights_fit_another_size(name):
    shapes = [[w.shape for w in built(name, SMALL.get(name, {}), side).weights] for side in (16, 64)]
    assert (shapes[0] == shapes[1]) == LIMITS[name].takes_any_size


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("vit", {}, "model.name must be one of simple_cnn, mlp, resnet9, whitened_cnn; received 'vit'"),
        ("mlp", {"depth": 3}, "model.arguments of mlp are hidden_units; received depth$"),
        ("simple_cnn", {"filter": [3]}, "received filter; did you mean filters\\?"),
        ("simple_cnn", {"hidden_units": [3]}, "hidden_units of simple_cnn is a whole number above 0; received \\[3\\]"),
        ("simple_cnn", {"hidden_units": 0}, "above 0; received 0"),
        ("simple_cnn", {"hidden_units": True}, "received True"),
        ("mlp", {"hidden_units": 3}, "is a list of whole numbers above 0, as \\[128\\]; received 3"),
        ("mlp", {"hidden_units": [-1]}, "received \\[-1\\]"),
        ("mlp", {"hidden_units": [1.5]}, "received \\[1.5\\]"),
        ("mlp", {"hidden_units": "12"}, "received '12'"),
        ("resnet9", {"filters": []}, "list of whole numbers above 0, 1 or more, as"),
    ],
)
def test_what_does_not_fit_is_named(name, arguments, message):
    with pytest.raises(ConfigError, match=message):
        check_model(name, arguments, height=32, width=32)
