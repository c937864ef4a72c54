"""Layers of the fast network: Keras' own results, by the kernels that are fastest where they run.

What they replace is what a profile of a training step showed beside the convolutions: batch
normalisation in many passes, an activation whose gradient takes as long as a convolution, on
processors with a matrix unit (AMX) the kernel gradients of wide convolutions over small images, and
on GPUs what `compiled` says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tasks.vision.device import has_matrix_unit
from tasks.vision.network.distribution import accumulator, clear
from tasks.vision.network.xla_ops import gpu_compiles, max_pool, normalise

PART = 500  # images that are normalised together
SMALL = 8  # pixels of an image's side, up to which ...
WIDE = 128  # channels on both sides, from which nine matrix products are the faster gradient


class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Keras' batch normalisation, computed by the one fused kernel that TensorFlow has for it.

    Same weights and the same result as the parent class without a scale. While training, the
    layer's own version makes several passes over the activations; the kernel makes two. The moving
    statistics change once a batch, however many parts and devices it passes through: `learn_statistics`.
    On a GPU several parts come in one call, and each is normalised by its own statistics all the same.
    """

    def __init__(self, **options: Any) -> None:
        # Statistics and offset stay float32 whatever the policy computes in.
        super().__init__(scale=False, autocast=False, **options)

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        channels = tuple(self.moving_mean.shape)
        # Sums of means and variances over the parts of a batch, and how many parts those were.
        self._seen = (accumulator(channels), accumulator(channels), accumulator(()))

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        learn = bool(training) and self.trainable
        if learn and gpu_compiles():
            parts = parts_of(inputs.shape[0])
            y, mean, variance = normalise(
                inputs, tf.convert_to_tensor(self.beta), self.epsilon, parts
            )
            self._see(mean, variance, float(parts))
            return y
        y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.ones_like(self.beta),
            offset=self.beta,
            mean=tf.constant([], tf.float32) if learn else self.moving_mean,
            variance=tf.constant([], tf.float32) if learn else self.moving_variance,
            epsilon=self.epsilon,
            is_training=learn,
        )
        if learn:
            self._see(mean, variance, 1.0)
        return y

    def _see(self, mean: tf.Tensor, variance: tf.Tensor, parts: float) -> None:
        """Add the sums of means and variances over so many parts to what this batch has shown."""
        for total, value in zip(self._seen, (mean, variance, parts), strict=True):
            total.assign_add(value)

    def learn_statistics(self, keep: float) -> None:
        """Move the statistics, by 1 - `keep`, towards the mean over the parts seen since the last call."""
        mean, variance, parts = self._seen
        self.moving_mean.assign(keep * self.moving_mean + (1 - keep) * (mean / parts))
        self.moving_variance.assign(keep * self.moving_variance + (1 - keep) * (variance / parts))
        clear(self._seen)


def parts_of(images: int | None) -> int:
    """How many parts of about `PART` images, all of one size, so many images come in; 1 if there are none."""
    parts = max(1, round((images or 0) / PART))
    return parts if images and images % parts == 0 else 1


class Pooling(keras.layers.MaxPooling2D):
    """Keras' max pooling of 2x2 windows; on a GPU the gradient is one pass over the images."""

    def __init__(self, **options: Any) -> None:
        super().__init__(2, **options)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return max_pool(inputs) if training and gpu_compiles() else super().call(inputs)


class Convolution(keras.layers.Conv2D):
    """Keras' convolution; a 3x3 kernel's gradient may be computed as nine matrix products."""

    def __init__(self, filters: int, **options: Any) -> None:
        super().__init__(filters, 3, padding="same", use_bias=False, **options)

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        size, channels = inputs.shape[1], inputs.shape[-1]
        small = size is not None and size <= SMALL and min(channels, self.filters) >= WIDE
        if small and inputs.dtype == tf.bfloat16 and has_matrix_unit():
            # A variable inside would be one more thing that such a gradient has to return.
            return convolve(inputs, tf.convert_to_tensor(kernel, inputs.dtype))
        return super().convolution_op(inputs, kernel)


@tf.custom_gradient
def convolve(images: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Any]]:
    """A 3x3 convolution with padding, whose kernel's gradient is a matrix product for each position.

    Args:
        images: (n, size, size, channels). kernel: (3, 3, channels, filters).
    """
    _, height, width, channels = images.shape
    filters = kernel.shape[-1]

    def gradients(above: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        below = tf.raw_ops.Conv2DBackpropInput(
            input_sizes=tf.shape(images),
            filter=kernel,
            out_backprop=above,
            strides=[1, 1, 1, 1],
            padding="SAME",
        )
        padded = tf.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
        columns = tf.reshape(above, (-1, filters))
        products = [
            tf.matmul(
                tf.reshape(padded[:, row : row + height, column : column + width], (-1, channels)),
                columns,
                transpose_a=True,
            )
            for row in range(3)
            for column in range(3)
        ]
        return below, tf.reshape(tf.stack(products), kernel.shape)

    return tf.nn.conv2d(images, kernel, strides=1, padding="SAME"), gradients


def silu(x: tf.Tensor) -> tf.Tensor:
    """x * sigmoid(x) (Elfwing et al., arXiv 1702.03118), in one pass forward and one backward.

    TensorFlow's own gradient passes over the activations six times, on a processor in bfloat16 each of
    them slower than oneDNN's whole forward pass.
    """
    slow = x.dtype == tf.bfloat16 and not tf.config.get_visible_devices("GPU")
    return _silu(x) if slow or gpu_compiles() else tf.nn.silu(x)


@tf.custom_gradient
def _silu(x: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Any]]:
    return tf.nn.silu(x), lambda above: silu_gradient(x, above)


@tf.function(jit_compile=True)
def silu_gradient(x: tf.Tensor, above: tf.Tensor) -> tf.Tensor:
    """The gradient that `silu` hands down, compiled by XLA into one loop."""
    wide = tf.cast(x, tf.float32)
    sigmoid = tf.sigmoid(wide)
    slope = sigmoid * (1 + wide * (1 - sigmoid))
    return tf.cast(tf.cast(above, tf.float32) * slope, x.dtype)
