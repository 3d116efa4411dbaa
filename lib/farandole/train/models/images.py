"""The networks for images: a model is a function here; build.py has the table of their names.

Every model takes uint8 pixels [n, height, width, channels] and returns float32 logits [n, num_classes], so that
what is saved needs no preprocessing around it. Further inputs, numbers [n, k] of mean 0 and deviation 1 in train or
None, join what is left of the picture where it has become a vector.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from farandole.train.models.layers import GlobalBatchNorm, PatchWhitening, gelu


def simple_cnn(
    inputs: keras.KerasTensor,
    numbers: keras.KerasTensor | None,
    num_classes: int,
    *,
    filters: Sequence[int] = (32, 64, 64),
    hidden_units: int = 64,
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
    x = _joined(layers.Flatten()(x), numbers)
    x = layers.Dense(hidden_units, activation="relu")(x)
    return layers.Dense(num_classes, dtype="float32")(x)


def mlp(
    inputs: keras.KerasTensor,
    numbers: keras.KerasTensor | None,
    num_classes: int,
    *,
    hidden_units: Sequence[int] = (128,),
) -> keras.KerasTensor:
    """Fully connected layers with relu on the flattened pixels."""
    x = _joined(layers.Flatten()(layers.Rescaling(1.0 / 255.0)(inputs)), numbers)
    for units in hidden_units:
        x = layers.Dense(units, activation="relu")(x)
    return layers.Dense(num_classes, dtype="float32")(x)


def resnet9(
    inputs: keras.KerasTensor,
    numbers: keras.KerasTensor | None,
    num_classes: int,
    *,
    filters: Sequence[int] = (64, 128, 256, 512),
) -> keras.KerasTensor:
    """Page's ResNet-9 (2018): 3x3 convolutions with batch norm and relu, pooling after all but one, two residuals.

    With the defaults on 32x32x3 it has 6.6 million weights. Sides must be at least 8 pixels.
    """
    x = _conv(layers.Rescaling(1.0 / 255.0)(inputs), filters[0])
    for i, count in enumerate(filters[1:]):
        x = layers.MaxPooling2D(2)(_conv(x, count))
        if i % 2 == 0:
            x = layers.Add()([x, _conv(_conv(x, count), count)])
    x = _joined(layers.GlobalMaxPooling2D()(x), numbers)
    return layers.Dense(num_classes, use_bias=False, dtype="float32")(x) * 0.125


def _joined(x: keras.KerasTensor, numbers: keras.KerasTensor | None) -> keras.KerasTensor:
    return x if numbers is None else layers.Concatenate()([x, numbers])


def _conv(x: keras.KerasTensor, filters: int) -> keras.KerasTensor:
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
    return layers.Activation("relu")(GlobalBatchNorm()(x))


def whitened_cnn(
    inputs: keras.KerasTensor,
    numbers: keras.KerasTensor | None,
    num_classes: int,
    *,
    filters: Sequence[int] = (64, 256, 256),
) -> keras.KerasTensor:
    """The network of airbench94 (Jordan 2024): whitened 2x2 patches, then two 3x3 convolutions per width.

    With the defaults on 32x32x3 it has 2.0 million weights and takes 0.24 GFLOP per image forward. Sides must be at
    least 9 pixels, since each width halves them.
    """
    x = layers.Activation(gelu)(PatchWhitening()(inputs))
    for count in filters:
        for pools in (True, False):
            x = layers.Conv2D(count, 3, padding="same", use_bias=False, kernel_initializer=passing_on)(x)
            x = layers.MaxPooling2D(2)(x) if pools else x
            x = layers.Activation(gelu)(GlobalBatchNorm()(x))
    x = _joined(layers.GlobalMaxPooling2D()(x), numbers)
    bound = 3**0.5 / HEAD_GAIN  # of a uniform distribution with variance 1 / HEAD_GAIN**2
    uniform = keras.initializers.RandomUniform(-bound, bound)
    logits = layers.Dense(num_classes, use_bias=False, dtype="float32", kernel_initializer=uniform)(x)
    return logits * (HEAD_GAIN / x.shape[-1])


HEAD_GAIN = 3.56
"""What whitened_cnn multiplies the last layer's output with, and divides its first weights by: as if its learning rate
were the square of this times that of the biases, 0.67 / 0.053 in airbench94, which the optimizer need not know then."""


def passing_on(shape: Sequence[int], dtype: Any = None) -> Any:
    """A kernel [height, width, inputs, filters] of which the first filters pass on one input each; others are random.

    These are uniform of variance 1 / (3 * height * width * inputs), as PyTorch's convolutions are.
    """
    height, width, inputs, filters = shape
    bound = (height * width * inputs) ** -0.5
    passing = np.zeros((height, width, inputs, min(inputs, filters)), np.float32)
    channels = np.arange(passing.shape[3])
    passing[height // 2, width // 2, channels, channels] = 1.0
    drawn = keras.random.uniform((height, width, inputs, filters - passing.shape[3]), -bound, bound, dtype=dtype)
    return keras.ops.concatenate([keras.ops.cast(passing, dtype), drawn], axis=3)
