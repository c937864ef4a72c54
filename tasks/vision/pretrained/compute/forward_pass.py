"""Run a network of stock layers with TensorFlow's own operations, its weights constant unless they train.

With constants, TensorFlow's optimizer fuses each convolution with its bias, activation and residual sum, and
oneDNN reorders each kernel only once. Neither happens with Keras' layers, which take twice as long.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tasks.vision.pretrained.compute.activations import activate, leaky
from tasks.vision.pretrained.graph import plain_layers as plain
from tasks.vision.pretrained.graph import weighted_layers as weighted
from tasks.vision.pretrained.graph.layer import Layer
from tasks.vision.pretrained.graph.network import LayerConfig, PretrainedNetwork

MAX_CONSTANTS = 512 << 20  # bytes; a graph is a protocol buffer, which ends at 2 GiB
EPSILON = 1e-7  # Keras' own, of Normalization


class ForwardPass:
    """A network whose `__call__` adds its operations to the TensorFlow function being traced."""

    def __init__(
        self,
        network: PretrainedNetwork,
        dtype: str,
        variables: Mapping[str, keras.Variable] | None = None,
    ) -> None:
        self._network = network
        self._dtype = tf.as_dtype(dtype)
        size = sum(value.nbytes for value in network.tensors.values())
        captured = size > MAX_CONSTANTS
        self._tensors = {
            name: tf.constant(value) if captured else value
            for name, value in network.tensors.items()
        }
        self._tensors |= variables or {}

    def __call__(self, images: tf.Tensor, outputs: list[str]) -> list[tf.Tensor]:
        """Return the activations `outputs` for images of values 0 to 255, any numeric dtype.

        Pixels are scaled in float32; from the first convolution on, activations have the dtype of the pass.
        """
        known = {self._network.config.input: tf.cast(images, tf.float32)}
        for layer in self._network.config.layers:
            known[layer.name] = self._apply(layer, [known[name] for name in layer.inputs])
        return [known[name] for name in outputs]

    def _weight(self, layer: Layer, name: str, dtype: tf.DType) -> Any:
        """A weight; None where the layer has none of that name."""
        value = self._tensors.get(f"{layer.name}/{name}")
        return None if value is None else tf.cast(value, dtype)

    def _apply(self, layer: LayerConfig, inputs: list[tf.Tensor]) -> tf.Tensor:
        x = inputs[0]
        match layer:
            case weighted.Conv2D() | weighted.DepthwiseConv2D() | weighted.Dense():
                x = self._linear(layer, tf.cast(x, self._dtype))
                bias = self._weight(layer, "bias", self._dtype)
                x = x if bias is None else tf.nn.bias_add(x, bias)
                return activate(layer.activation, x)
            case weighted.BatchNormalization():
                return self._batch_normalization(layer, x)
            case weighted.LayerNormalization():
                return self._normalized(layer, x, axes=[-1])
            case weighted.GroupNormalization():
                grouped = tf.reshape(
                    x, (-1, *x.shape[1:-1], layer.groups, x.shape[-1] // layer.groups)
                )
                axes = [*range(1, len(x.shape) - 1), -1]
                return self._normalized(layer, grouped, axes, (-1, *x.shape[1:]))
            case weighted.Normalization():
                mean, variance = (self._weight(layer, n, x.dtype) for n in ("mean", "variance"))
                return (x - mean) / tf.maximum(tf.sqrt(variance), EPSILON)
            case weighted.LayerScale():
                return x * self._weight(layer, "gamma", x.dtype)
            case weighted.PReLU():
                return tf.nn.relu(x) - self._weight(layer, "alpha", x.dtype) * tf.nn.relu(-x)
            case plain.Merge():
                return MERGES[layer.kind](inputs)
            case plain.Concatenate():
                return tf.concat(inputs, -1)
            case _:
                return _weightless(layer, x)

    def _linear(
        self, layer: weighted.Conv2D | weighted.DepthwiseConv2D | weighted.Dense, x: tf.Tensor
    ) -> tf.Tensor:
        kernel = self._weight(layer, "kernel", self._dtype)
        if isinstance(layer, weighted.Dense):
            return (
                tf.matmul(x, kernel) if len(x.shape) == 2 else tf.tensordot(x, kernel, [[-1], [0]])
            )
        padding, dilation = layer.padding.upper(), list(layer.dilation_rate)
        if isinstance(layer, weighted.DepthwiseConv2D):
            strides = [1, *layer.strides, 1]
            return tf.nn.depthwise_conv2d(x, kernel, strides, padding, dilations=dilation)
        parts = zip(tf.split(x, layer.groups, -1), tf.split(kernel, layer.groups, -1), strict=True)
        found = [tf.nn.conv2d(a, k, layer.strides, padding, dilations=dilation) for a, k in parts]
        return found[0] if len(found) == 1 else tf.concat(found, -1)

    def _batch_normalization(self, layer: weighted.BatchNormalization, x: tf.Tensor) -> tf.Tensor:
        width = x.shape[-1:]
        mean, variance = (
            self._weight(layer, f"moving_{n}", tf.float32) for n in ("mean", "variance")
        )
        gamma, beta = (self._weight(layer, n, tf.float32) for n in ("gamma", "beta"))
        gamma = tf.ones(width) if gamma is None else gamma
        beta = tf.zeros(width) if beta is None else beta
        if len(x.shape) != 4:
            factor = gamma / tf.sqrt(variance + layer.epsilon)
            return x * tf.cast(factor, x.dtype) + tf.cast(beta - mean * factor, x.dtype)
        return tf.compat.v1.nn.fused_batch_norm(
            x, gamma, beta, mean, variance, epsilon=layer.epsilon, is_training=False
        )[0]

    def _normalized(
        self,
        layer: weighted.Normalizing,
        x: tf.Tensor,
        axes: list[int],
        shape: tuple[int, ...] | None = None,
    ) -> tf.Tensor:
        """Normalise over `axes` in float32, then scale by channel."""
        dtype, x = x.dtype, tf.cast(x, tf.float32)
        mean, variance = tf.nn.moments(x, axes, keepdims=True)
        x = (x - mean) * tf.math.rsqrt(variance + layer.epsilon)
        x = x if shape is None else tf.reshape(x, shape)
        gamma, beta = (self._weight(layer, name, tf.float32) for name in ("gamma", "beta"))
        x = x if gamma is None else x * gamma
        return tf.cast(x if beta is None else x + beta, dtype)


def _weightless(layer: LayerConfig, x: tf.Tensor) -> tf.Tensor:
    match layer:
        case plain.Pooling2D():
            pool = tf.nn.max_pool2d if layer.kind == "MaxPooling2D" else tf.nn.avg_pool2d
            return pool(x, layer.pool_size, layer.strides, layer.padding.upper())
        case plain.GlobalPooling2D():
            reduce = tf.reduce_max if layer.kind == "GlobalMaxPooling2D" else tf.reduce_mean
            return reduce(tf.cast(x, tf.float32), (1, 2), keepdims=layer.keepdims)
        case plain.ZeroPadding2D():
            return tf.pad(x, ((0, 0), *layer.padding, (0, 0)))
        case plain.Cropping2D():
            (top, bottom), (left, right) = layer.cropping
            return x[:, top : x.shape[1] - bottom, left : x.shape[2] - right]
        case plain.UpSampling2D():
            size = (x.shape[1] * layer.size[0], x.shape[2] * layer.size[1])
            return tf.cast(tf.image.resize(x, size, layer.interpolation), x.dtype)
        case plain.Resizing():
            size = (layer.height, layer.width)
            return tf.cast(tf.image.resize(x, size, layer.interpolation), x.dtype)
        case plain.Rescaling():
            return x * tf.constant(layer.scale, x.dtype) + tf.constant(layer.offset, x.dtype)
        case plain.ReverseChannels():
            return tf.reverse(x, [-1])
        case plain.Activation():
            return activate(layer.activation, x)
        case plain.ReLU():
            return leaky(x, layer.max_value, layer.negative_slope, layer.threshold)
        case plain.ELU():
            return tf.where(x > 0, x, layer.alpha * tf.math.expm1(tf.minimum(x, 0)))
        case plain.Reshape():
            return tf.reshape(x, (-1, *layer.output_shape([tuple(x.shape[1:])])))
        case plain.Flatten():
            return tf.reshape(x, (-1, int(np.prod(x.shape[1:]))))
        case plain.Permute():
            return tf.transpose(x, (0, *layer.dims))
    raise AssertionError(layer)


def _chained(
    operation: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
) -> Callable[[list[tf.Tensor]], tf.Tensor]:
    def apply(inputs: list[tf.Tensor]) -> tf.Tensor:
        x = inputs[0]
        for other in inputs[1:]:
            x = operation(x, tf.cast(other, x.dtype))
        return x

    return apply


_add = _chained(tf.add)
MERGES: dict[str, Callable[[list[tf.Tensor]], tf.Tensor]] = {
    "Add": _add,
    "Subtract": _chained(tf.subtract),
    "Multiply": _chained(tf.multiply),
    "Average": lambda inputs: _add(inputs) / len(inputs),
    "Maximum": _chained(tf.maximum),
    "Minimum": _chained(tf.minimum),
}
