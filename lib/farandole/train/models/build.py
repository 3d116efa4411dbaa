"""A model by name: `model.name` and `model.arguments` of a config -> a Keras model with freshly drawn weights."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from farandole.errors import ConfigError
from farandole.train.models.images import mlp, resnet9, simple_cnn, whitened_cnn
from farandole.train.models.limits import check_model

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
) -> keras.Model:
    """Builds a model with freshly drawn weights; the same arguments draw the same weights in every process.

    Args:
        name: a key of MODELS.
        arguments: its keyword arguments.
        image_shape: height, width, channels.
        num_classes: length of the logits.
        seed: of the initial weights.
        precision: float32, or bfloat16 for Keras' mixed_bfloat16 policy.

    Raises:
        ConfigError: as check_model, which needs no TensorFlow to tell so; or Keras refuses the arguments.
    """
    check_model(name, arguments, height=image_shape[0], width=image_shape[1])
    keras.utils.clear_session()  # which forgets the policy, too
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")
    keras.utils.set_random_seed(seed)
    inputs = keras.Input(image_shape, dtype="uint8")
    try:
        return keras.Model(inputs, MODELS[name](inputs, num_classes, **arguments), name=name)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model {name} cannot be built with model.arguments {arguments!r}: {error}") from error
