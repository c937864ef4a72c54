"""Keras' activations as TensorFlow's operations."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tasks.vision.pretrained.graph.layer import ActivationName


def activate(name: ActivationName, x: tf.Tensor) -> tf.Tensor:
    """Return the activation of that name in Keras."""
    return x if name == "linear" else ACTIVATIONS[name](x)


def leaky(x: tf.Tensor, max_value: float | None, slope: float, threshold: float) -> tf.Tensor:
    """Keras' ReLU: x from `threshold` on, at most `max_value`; slope * (x - threshold) below."""
    if threshold == 0 and max_value in (None, 6.0):
        if slope == 0:
            return tf.nn.relu(x) if max_value is None else tf.nn.relu6(x)
        if max_value is None:
            return tf.nn.leaky_relu(x, slope)
    positive = tf.where(x >= threshold, x, tf.zeros_like(x))
    if max_value is not None:
        positive = tf.minimum(positive, tf.cast(max_value, x.dtype))
    return tf.where(x >= threshold, positive, slope * (x - threshold))


def _softmax(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.softmax(tf.cast(x, tf.float32))


ACTIVATIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "relu": tf.nn.relu,
    "relu6": tf.nn.relu6,
    "leaky_relu": lambda x: tf.nn.leaky_relu(x, 0.2),
    "elu": tf.nn.elu,
    "selu": tf.nn.selu,
    "gelu": lambda x: tf.nn.gelu(x, approximate=False),
    "silu": tf.nn.silu,
    "mish": lambda x: x * tf.tanh(tf.nn.softplus(x)),
    "softplus": tf.nn.softplus,
    "softsign": tf.nn.softsign,
    "sigmoid": tf.nn.sigmoid,
    "hard_sigmoid": lambda x: tf.nn.relu6(x + 3) * (1 / 6),
    "hard_silu": lambda x: x * tf.nn.relu6(x + 3) * (1 / 6),
    "tanh": tf.tanh,
    "exponential": tf.exp,
    "softmax": _softmax,
}
