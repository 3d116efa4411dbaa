"""CNNs by name: a model is a function here, and config names it with `model.name` and `model.arguments`.

Every model takes uint8 pixels [n, height, width, channels] and returns float32 logits [n, num_classes], so that
what is saved needs no preprocessing around it.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import layers

from farandole.errors import ConfigError


def simple_cnn(
    inputs: keras.KerasTensor, num_classes: int, *, filters: Sequence[int] = (32, 64, 64), hidden_units: int = 64
) -> keras.KerasTensor:
    """The reference CNN: 3x3 convolutions with relu, 2x2 max pooling between them, one hidden layer.

    With the defaults on 32x32x3 it has 122,570 weights and reaches about 0.70 on CIFAR-10 in 10 epochs.
    """
    x = layers.Rescaling(1.0 / 255.0)(inputs)
    for i, count in enumerate(filters):
        if i > 0 and min(x.shape[1:3]) >= 2:
            x = layers.MaxPooling2D(2)(x)
        # Small images run out of pixels before they run out of layers: then the border is padded.
        padding = "valid" if min(x.shape[1:3]) >= 3 else "same"
        x = layers.Conv2D(count, 3, padding=padding, activation="relu")(x)
    x = layers.Flatten()(x)
    x = layers.Dense(hidden_units, activation="relu")(x)
    return layers.Dense(num_classes, dtype="float32")(x)


def mlp(inputs: keras.KerasTensor, num_classes: int, *, hidden_units: Sequence[int] = (128,)) -> keras.KerasTensor:
    """Fully connected layers with relu on the flattened pixels."""
    x = layers.Flatten()(layers.Rescaling(1.0 / 255.0)(inputs))
    for units in hidden_units:
        x = layers.Dense(units, activation="relu")(x)
    return layers.Dense(num_classes, dtype="float32")(x)


MODELS: dict[str, Callable[..., keras.KerasTensor]] = {"simple_cnn": simple_cnn, "mlp": mlp}


def build_model(
    name: str,
    arguments: dict[str, Any],
    *,
    image_shape: tuple[int, int, int],
    num_classes: int,
    seed: int,
    precision: str,
) -> keras.Model:
    """Builds a model with freshly drawn weights; the same arguments draw the same weights in every process.

    Args:
        name: a function of this module.
        arguments: its keyword arguments.
        image_shape: height, width, channels.
        num_classes: length of the logits.
        seed: of the initial weights.
        precision: float32, or bfloat16 for Keras' mixed_bfloat16 policy.

    Raises:
        ConfigError: no such model, or it does not take these arguments.
    """
    if name not in MODELS:
        raise ConfigError(f"model.name must be one of {', '.join(MODELS)}; received {name!r}")
    known = [p.name for p in inspect.signature(MODELS[name]).parameters.values() if p.kind is p.KEYWORD_ONLY]
    unknown = sorted(set(arguments) - set(known))
    if unknown:
        raise ConfigError(f"model.arguments of {name} are {', '.join(known)}; received {', '.join(unknown)}")
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    inputs = keras.Input(image_shape, dtype="uint8")
    try:
        return keras.Model(inputs, MODELS[name](inputs, num_classes, **arguments), name=name)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model {name} cannot be built with model.arguments {arguments!r}: {error}") from error
