"""A model by name: `model.name` and `model.arguments` of a config -> a Keras model with freshly drawn weights."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import keras

from farandole.core.dataset.manifest import Stats
from farandole.core.dataset.sample import Sample
from farandole.errors import ConfigError
from farandole.train.models.images import mlp, resnet9, simple_cnn, whitened_cnn
from farandole.train.models.layers import Standardize
from farandole.train.models.limits import check_model

_UNSCALED = Stats(mean=[0.0], std=[1.0])

MODELS: dict[str, Callable[..., keras.KerasTensor]] = {
    "simple_cnn": simple_cnn,
    "mlp": mlp,
    "resnet9": resnet9,
    "whitened_cnn": whitened_cnn,
}


def build_model(
    name: str,
    arguments: dict[str, Any],
    *,
    image_shape: Sequence[int],
    num_classes: int,
    seed: int,
    precision: str,
    numbers: Mapping[str, Stats] = MappingProxyType({}),
) -> keras.Model:
    """Builds a model with freshly drawn weights; the same arguments draw the same weights in every process.

    Args:
        name: a key of MODELS.
        arguments: its keyword arguments.
        image_shape: height, width, channels.
        num_classes: length of the logits.
        seed: of the initial weights.
        precision: float32, or bfloat16 for Keras' mixed_bfloat16 policy.
        numbers: the inputs besides the image, and what they are scaled by.

    Raises:
        ConfigError: as check_model, which needs no TensorFlow to tell so; or Keras refuses the arguments.
    """
    check_model(name, arguments, height=image_shape[0], width=image_shape[1])
    keras.utils.clear_session()  # which forgets the policy, too
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")
    keras.utils.set_random_seed(seed)
    inputs = keras.Input(image_shape, dtype="uint8")
    others = [keras.Input((1,), dtype="float32") for _ in numbers]
    scale = Standardize()
    scaled = scale(keras.ops.concatenate(others, axis=1)) if others else None
    try:
        logits = MODELS[name](inputs, scaled, num_classes, **arguments)
        model = keras.Model([inputs, *others] if others else inputs, logits, name=name)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model {name} cannot be built with model.arguments {arguments!r}: {error}") from error
    if numbers:
        scale.fit([stats.mean[0] for stats in numbers.values()], [stats.std[0] for stats in numbers.values()])
    return model


def build_for(
    sample: Sample,
    name: str,
    arguments: dict[str, Any],
    *,
    seed: int,
    precision: str,
    stats: Mapping[str, Stats] = MappingProxyType({}),
) -> keras.Model:
    """As build_model, for what a row holds; stats are those of the train split, or none where weights are to come."""
    return build_model(
        name,
        arguments,
        image_shape=sample.features["image"].shape,
        num_classes=len(sample.class_names),
        seed=seed,
        precision=precision,
        numbers={number: stats.get(number, _UNSCALED) for number in sample.numbers},
    )


def model_inputs(sample: Sample, values: Mapping[str, Any]) -> Any:
    """What a model is called with: tensors of the sample's inputs."""
    image, *numbers = (values[name] for name in sample.inputs)
    return [image, *(number[:, None] for number in numbers)] if numbers else image
