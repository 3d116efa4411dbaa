"""Layers that Keras does not have: whitened patches, numbers scaled by the data set's statistics, batch norm over the
global batch, and a GELU fit for CPUs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from farandole.train.horovod.distributed import sum_tensors

_counted: list[Any] = []
"""The row weights of the step that is being traced, innermost last; see `counting`."""


@contextmanager
def counting(counted: Any) -> Iterator[None]:
    """While a training step is traced: which rows of this rank's batch are real.

    Args:
        counted: float32 [n], 1 for a row of the batch, 0 for the blank row of a rank that has none.
    """
    _counted.append(counted)
    try:
        yield
    finally:
        _counted.pop()


@keras.saving.register_keras_serializable("farandole")
class PatchWhitening(keras.layers.Layer):
    """A convolution that makes the values of every patch uncorrelated and of equal variance, and learns a bias only.

    Its filters are the eigenvectors of the patches' second moments, scaled, and their negatives (Page 2019,
    Jordan 2024, section 3.2). `fit` computes them once, from images; until then it passes nothing on.

    uint8 [n, height, width, channels] -> [n, height - size + 1, width - size + 1, 2 * channels * size * size].
    """

    def __init__(self, size: int = 2, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.size = size

    def build(self, shape: tuple[int | None, ...]) -> None:
        channels = int(shape[-1] or 0)
        filters = 2 * channels * self.size**2
        zeros = {"initializer": "zeros", "autocast": False, "dtype": "float32"}
        kernel = (self.size, self.size, channels, filters)
        self.mean = self.add_weight(shape=(channels,), name="mean", trainable=False, **zeros)
        self.kernel = self.add_weight(shape=kernel, name="kernel", trainable=False, **zeros)
        self.bias = self.add_weight(shape=(filters,), name="bias", **zeros)

    def call(self, images: Any) -> Any:
        # All in float32: the rarest differences between pixels are scaled up a hundredfold, and bfloat16's rounding of
        # pixels and kernel, 8 bits each, would drown them.
        pixels = tf.cast(images, tf.float32) / 255.0 - tf.convert_to_tensor(self.mean)
        maps = tf.nn.conv2d(pixels, tf.convert_to_tensor(self.kernel), 1, "VALID") + tf.convert_to_tensor(self.bias)
        return tf.cast(maps, self.compute_dtype)

    def fit(self, images: np.ndarray, epsilon: float = 5e-4) -> None:
        """Sets the filters from images, uint8 [n, height, width, channels].

        epsilon is added to the second moments of patches, in units of the channels' variances, lest noise be blown up.
        """
        pixels = images.astype(np.float32) / 255.0
        mean, std = pixels.mean(axis=(0, 1, 2)), pixels.std(axis=(0, 1, 2)) + 1e-6
        sizes, ones = [1, self.size, self.size, 1], [1, 1, 1, 1]
        found = tf.image.extract_patches((pixels - mean) / std, sizes, ones, ones, "VALID").numpy()
        patches = found.reshape(-1, self.kernel.shape[3] // 2)  # rows, then columns, then channels, as in the kernel
        moments = (patches.T @ patches).astype(np.float64) / len(patches)
        values, vectors = np.linalg.eigh(moments)
        filters = (vectors / np.sqrt(values + epsilon)).reshape(*self.kernel.shape[:3], -1) / std[:, None]
        self.mean.assign(mean)
        self.kernel.assign(np.concatenate([filters, -filters], axis=3))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size}


@keras.saving.register_keras_serializable("farandole")
class Standardize(keras.layers.Layer):
    """Takes the mean off and divides by the standard deviation, which are weights that no step changes.

    float32 [n, numbers] -> [n, numbers].
    """

    def build(self, shape: tuple[int | None, ...]) -> None:
        each = {"shape": (int(shape[-1] or 0),), "trainable": False, "autocast": False, "dtype": "float32"}
        self.mean = self.add_weight(initializer="zeros", name="mean", **each)
        self.std = self.add_weight(initializer="ones", name="std", **each)

    def call(self, numbers: Any) -> Any:
        scaled = (tf.cast(numbers, tf.float32) - tf.convert_to_tensor(self.mean)) / tf.convert_to_tensor(self.std)
        return tf.cast(scaled, self.compute_dtype)

    def fit(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Sets both, [numbers]; where all values were equal, there is nothing to divide by."""
        self.mean.assign(mean)
        self.std.assign([deviation or 1.0 for deviation in std])


@keras.saving.register_keras_serializable("farandole")
class GlobalBatchNorm(keras.layers.Layer):
    """Batch normalization with the mean and variance of the global batch, whatever ranks its rows are on.

    Keras' own normalizes the rows of each rank by themselves, so what is learnt would depend on the number of ranks.
    The scale is fixed at one; the bias is learnt (Jordan 2024, section 3.1).
    """

    def __init__(self, momentum: float = 0.6, epsilon: float = 1e-6, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.momentum, self.epsilon = momentum, epsilon

    def build(self, shape: tuple[int | None, ...]) -> None:
        each = {"shape": (int(shape[-1] or 0),), "autocast": False, "dtype": "float32"}
        self.bias = self.add_weight(initializer="zeros", name="bias", **each)
        self.moving_mean = self.add_weight(initializer="zeros", name="moving_mean", trainable=False, **each)
        self.moving_variance = self.add_weight(initializer="ones", name="moving_variance", trainable=False, **each)

    def call(self, x: Any, training: bool = False) -> Any:
        bias = tf.convert_to_tensor(self.bias)
        if not training:
            moving = (tf.convert_to_tensor(self.moving_mean), tf.convert_to_tensor(self.moving_variance))
            return _scaled(x, *moving, tf.ones_like(bias), bias, self.epsilon)
        y, mean, variance = normalize_globally(x, bias, self.epsilon)
        for moving, found in ((self.moving_mean, mean), (self.moving_variance, variance)):
            new = moving * self.momentum + found * (1.0 - self.momentum)
            moving.assign(tf.where(tf.math.is_finite(new), new, moving))  # NaN stays out of it
        return y

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum, "epsilon": self.epsilon}


def normalize_globally(x: Any, bias: Any, epsilon: float) -> tuple[Any, Any, Any]:
    """Batch normalization over the rows of all ranks, with its gradient.

    Two sums over ranks, one on the way forward and one back, of three and two numbers per channel: the statistics and
    their gradients. On the way forward TensorFlow's fused kernel does the rest, which knows this rank's rows alone.
    Its gradient with given statistics has no deterministic kernel for GPUs, so the way back is written out.

    Args:
        x: [n, height, width, channels], float32 or bfloat16.
        bias: float32 [channels].
        epsilon: added to the variance.

    Returns:
        The normalized x, and the mean and the biased variance over the global batch, both float32 [channels].
    """
    counted = _counted[-1] if _counted else tf.ones(tf.shape(x)[:1])
    num_pixels = tf.reduce_sum(tf.cast(counted, tf.float64)) * tf.cast(tf.reduce_prod(tf.shape(x)[1:3]), tf.float64)
    ones = tf.ones_like(bias)

    @tf.custom_gradient
    def compute(x: Any, bias: Any) -> Any:
        empty = tf.zeros([0])
        own = tf.raw_ops.FusedBatchNormV3(x=x, scale=ones, offset=bias, mean=empty, variance=empty, is_training=True)
        own_mean = tf.cast(own.batch_mean, tf.float64)
        num_own = tf.cast(tf.reduce_prod(tf.shape(x)[:3]), tf.float64)
        # The unbiased one; reserve_space_2 is the biased one on processors, but its inverse root on GPUs.
        own_variance = tf.cast(own.batch_variance, tf.float64) * (num_own - 1.0) / num_own
        # float64, as the square of the mean is taken off again.
        sums = tf.concat([own_mean, own_variance + own_mean**2, [1.0]], axis=0) * num_pixels
        firsts, squares, total = tf.split(sum_tensors([sums])[0], [bias.shape[0], bias.shape[0], 1])
        mean = firsts / total
        variance = tf.cast(tf.maximum(squares / total - mean**2, 0.0), tf.float32)
        mean = tf.cast(mean, tf.float32)

        def gradient(dy: Any, *_: Any) -> tuple[Any, Any]:
            rate = tf.math.rsqrt(variance + epsilon)
            of_scale, of_bias = _parameter_gradients(x, dy, mean)
            both = tf.stack([of_scale * rate, of_bias])
            scale_mean, bias_mean = tf.unstack(sum_tensors([both])[0] / tf.cast(total, tf.float32))
            counts = tf.reduce_max(counted)  # a blank row has no gradient
            return _input_gradient(x, dy, mean, rate, scale_mean * counts, bias_mean * counts), of_bias

        return (_scaled(x, mean, variance, ones, bias, epsilon), mean, variance), gradient

    return compute(x, bias)


def _parameter_gradients(x: Any, dy: Any, mean: Any) -> tuple[Any, Any]:
    """The sums of dy * (x - mean) and of dy over all but the channels, float32."""
    wide = tf.cast(dy, tf.float32)
    products = wide * (tf.cast(x, tf.float32) - mean)
    return tf.reduce_sum(products, axis=[0, 1, 2]), tf.reduce_sum(wide, axis=[0, 1, 2])


@tf.function(jit_compile=True, autograph=False)
def _input_gradient(x: Any, dy: Any, mean: Any, rate: Any, scale_mean: Any, bias_mean: Any) -> Any:
    """What dy says of x, less what goes through the statistics, in x's dtype; the rest are float32 [channels]."""
    normalized = (tf.cast(x, tf.float32) - mean) * rate
    return tf.cast((tf.cast(dy, tf.float32) - normalized * scale_mean - bias_mean) * rate, x.dtype)


def _scaled(x: Any, mean: Any, variance: Any, scale: Any, offset: Any, epsilon: float) -> Any:
    """(x - mean) / sqrt(variance + epsilon) * scale + offset, in x's dtype; the rest are float32 [channels]."""
    return tf.raw_ops.FusedBatchNormV3(
        x=x, scale=scale, offset=offset, mean=mean, variance=variance, epsilon=epsilon, is_training=False
    ).y


@tf.custom_gradient
def gelu(x: Any) -> Any:
    """x times the normal distribution's cumulative function (Hendrycks and Gimpel 2016), x being of any shape.

    XLA makes one loop of its dozen elementwise operations; one by one they take five times as long in bfloat16.
    """
    return _gelu(x), lambda dy: _gelu_gradient(x, dy)


@tf.function(jit_compile=True, autograph=False)
def _gelu(x: Any) -> Any:
    return tf.cast(tf.nn.gelu(tf.cast(x, tf.float32), approximate=False), x.dtype)


@tf.function(jit_compile=True, autograph=False)
def _gelu_gradient(x: Any, dy: Any) -> Any:
    wide = tf.cast(x, tf.float32)
    below = 0.5 * (1.0 + tf.math.erf(wide * 0.5**0.5))
    density = tf.exp(-0.5 * wide**2) * (0.5 / np.pi) ** 0.5
    return tf.cast(tf.cast(dy, tf.float32) * (below + wide * density), x.dtype)
