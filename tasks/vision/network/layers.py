"""Layers of the fast network: the results of Keras' own, by the fastest kernels of the device.

They replace what a profile of a training step showed to be slow besides the convolutions: batch
normalisation in many passes, an activation whose gradient takes as long as a convolution, on
processors with a matrix unit (AMX) the kernel gradients of wide convolutions over small images, and
on GPUs what `xla_ops` names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tasks.vision.device import has_matrix_unit
from tasks.vision.network.distribution import accumulator, reset
from tasks.vision.network.xla_ops import gpu_compiles, max_pool, normalise

MICRO_BATCH = 500  # images that are normalised together
# Nine matrix products are the faster gradient for images of up to 8 pixels and 128 channels or more.
SMALL, WIDE = 8, 128


class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Keras' batch normalisation without a scale, computed by TensorFlow's fused kernel.

    Weights and results are the parent class's, which in training makes several passes over the
    activations where the kernel makes two. `update_statistics` changes the moving statistics, once a
    batch, whatever the number of its micro-batches and devices. On a GPU several micro-batches come in
    one call, and each is normalised by its own statistics.
    """

    def __init__(self, **options: Any) -> None:
        # Statistics and offset stay float32 whatever the policy computes in.
        super().__init__(scale=False, autocast=False, **options)

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        channels = tuple(self.moving_mean.shape)
        # Sums of means and variances over the micro-batches of a batch, and the number of those.
        self.sums = (accumulator(channels), accumulator(channels), accumulator(()))

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        training = bool(training) and self.trainable
        if training and gpu_compiles():
            parts = micro_batches(inputs.shape[0])
            y, mean, variance = normalise(
                inputs, tf.convert_to_tensor(self.beta), self.epsilon, parts
            )
            self._add(mean, variance, float(parts))
            return y
        y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.ones_like(self.beta),
            offset=self.beta,
            mean=tf.constant([], tf.float32) if training else self.moving_mean,
            variance=tf.constant([], tf.float32) if training else self.moving_variance,
            epsilon=self.epsilon,
            is_training=training,
        )
        if training:
            self._add(mean, variance, 1.0)
        return y

    def _add(self, mean: tf.Tensor, variance: tf.Tensor, parts: float) -> None:
        """Add the sums of means and variances over `parts` micro-batches to the batch's."""
        for total, value in zip(self.sums, (mean, variance, parts), strict=True):
            total.assign_add(value)

    def update_statistics(self, totals: Sequence[tf.Tensor], momentum: float) -> None:
        """Update the moving statistics with the totals of `sums`, and set those to zero."""
        mean, variance, parts = totals
        new = 1 - momentum
        self.moving_mean.assign(momentum * self.moving_mean + new * (mean / parts))
        self.moving_variance.assign(momentum * self.moving_variance + new * (variance / parts))
        reset(self.sums)


def micro_batches(images: int | None) -> int:
    """Number of equal micro-batches of about MICRO_BATCH images; 1 if the batch does not divide."""
    parts = max(1, round((images or 0) / MICRO_BATCH))
    return parts if images and images % parts == 0 else 1


class Pooling(keras.layers.MaxPooling2D):
    """Keras' max pooling of 2x2 windows; on a GPU the gradient is one pass over the images."""

    def __init__(self, **options: Any) -> None:
        super().__init__(2, **options)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return max_pool(inputs) if training and gpu_compiles() else super().call(inputs)


class Convolution(keras.layers.Conv2D):
    """Keras' 3x3 convolution; the kernel's gradient may be computed as nine matrix products."""

    def __init__(self, filters: int, **options: Any) -> None:
        super().__init__(filters, 3, padding="same", use_bias=False, **options)

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        size, channels = inputs.shape[1], inputs.shape[-1]
        small = size is not None and size <= SMALL and min(channels, self.filters) >= WIDE
        if small and inputs.dtype == tf.bfloat16 and has_matrix_unit():
            # A variable used inside a custom gradient would have to be returned by it too.
            return convolve(inputs, tf.convert_to_tensor(kernel, inputs.dtype))
        return super().convolution_op(inputs, kernel)


@tf.custom_gradient
def convolve(images: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Any]]:
    """3x3 convolution with padding; the kernel's gradient is one matrix product per position.

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

    TensorFlow's own gradient makes six passes over the activations; on a processor in bfloat16 each is
    slower than oneDNN's whole forward pass.
    """
    slow = x.dtype == tf.bfloat16 and not tf.config.get_visible_devices("GPU")
    return _silu(x) if slow or gpu_compiles() else tf.nn.silu(x)


@tf.custom_gradient
def _silu(x: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Any]]:
    return tf.nn.silu(x), lambda above: silu_gradient(x, above)


@tf.function(jit_compile=True)
def silu_gradient(x: tf.Tensor, above: tf.Tensor) -> tf.Tensor:
    """Gradient of `silu`, compiled by XLA into one loop."""
    wide = tf.cast(x, tf.float32)
    sigmoid = tf.sigmoid(wide)
    slope = sigmoid * (1 + wide * (1 - sigmoid))
    return tf.cast(tf.cast(above, tf.float32) * slope, x.dtype)
