"""A pretrained network and a linear head whose weights can be trained further, in TensorFlow.

Normalisation and scaling are folded into the convolutions before them, and the others stay as they are: so
batch normalisation is frozen in its inference mode, as usual in fine-tuning, and costs no passes over
memory. There is no dropout. The first blocks may be frozen.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import keras
import numpy as np
import tensorflow as tf

from tasks.vision.pretrained.compute.features import pooled
from tasks.vision.pretrained.compute.forward_pass import ForwardPass
from tasks.vision.pretrained.graph.blocks import blocks
from tasks.vision.pretrained.graph.feature_points import feature_names
from tasks.vision.pretrained.graph.fold import fold
from tasks.vision.pretrained.graph.head_tensors import HeadOnNetwork
from tasks.vision.pretrained.graph.network import PretrainedNetwork
from tasks.vision.pretrained.graph.weighted_layers import (
    BatchNormalization,
    DepthwiseConv2D,
    Normalization,
)

# What is not trained. Kernels of depthwise convolutions are a fiftieth of a mobile network's weights, and
# their gradients would take a third of a step.
CONSTANT: dict[type, tuple[str, ...]] = {
    BatchNormalization: ("moving_mean", "moving_variance"),
    Normalization: ("mean", "variance"),
    DepthwiseConv2D: ("kernel",),
}
LEAST_SCALE = 1e-3  # of a feature, that of one that is nearly constant would magnify noise


@dataclass(frozen=True)
class TunableLayer:
    """The weights of one layer that are trained; `depth` is 0 for the last block, 1 for the one before."""

    name: str
    depth: int
    variables: list[keras.Variable] = field(default_factory=list)


@dataclass(frozen=True)
class FeatureStatistics:
    """Mean and standard deviation of each feature: (d,) float64."""

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> FeatureStatistics:
        """Return those of features (n, d)."""
        return cls(features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64))


class TunableNetwork:
    """A network with a head; a call adds its operations to the TensorFlow function being traced.

    Args:
        seen: what is known of the features of the training images.
        frozen: number of first blocks that don't change.

    Attributes:
        layers: those that are trained, the head last, whose name is empty.
        input: what it takes, (n, size, size, 3) of values 0 to 255.
    """

    input = tf.TensorSpec((None, None, None, 3), tf.uint8)

    def __init__(self, start: HeadOnNetwork, seen: FeatureStatistics, frozen: int = 0) -> None:
        self._features = start.features
        self._names = feature_names(start.network, start.features)
        self._folded = fold(start.network, self._names)
        self._mean = seen.mean.astype(np.float32)
        self._scale = np.maximum(seen.deviation, LEAST_SCALE).astype(np.float32)
        block_of = blocks(self._folded)
        last = max(block_of.values())
        constant = {
            f"{layer.name}/{name}"
            for layer in self._folded.config.layers
            for name in CONSTANT.get(type(layer), ())
        }
        found: dict[str, TunableLayer] = {}
        self._variables: dict[str, keras.Variable] = {}
        for key, value in self._folded.tensors.items():
            layer, _, name = key.rpartition("/")
            if block_of[layer] < frozen or key in constant:
                continue
            self._variables[key] = keras.Variable(value, name=name, dtype="float32")
            about = found.setdefault(layer, TunableLayer(layer, last - block_of[layer]))
            about.variables.append(self._variables[key])
        kernel = start.kernel * self._scale[:, None]
        self._kernel = keras.Variable(kernel, name="kernel", dtype="float32")
        bias = start.bias + self._mean @ start.kernel
        self._bias = keras.Variable(bias, name="bias", dtype="float32")
        self.layers = [*found.values(), TunableLayer("", 0, [self._kernel, self._bias])]
        self._forward_pass = ForwardPass(self._folded, "float32", self._variables)

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """All weights that are trained, in the order of `layers`."""
        return [each for layer in self.layers for each in layer.variables]

    def __call__(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return the logits (n, outputs) of images; `training` changes nothing."""
        features = pooled(self._forward_pass(images, self._names))
        # Standardised, so that one rate suits all weights of the head.
        features = (features - self._mean) / self._scale
        return tf.matmul(features, self._kernel) + self._bias

    def trained(self) -> HeadOnNetwork:
        """Return network and head with the weights as they are now."""
        now = {key: np.array(variable) for key, variable in self._variables.items()}
        network = PretrainedNetwork(self._folded.config, {**self._folded.tensors, **now})
        kernel = np.array(self._kernel) / self._scale[:, None]
        bias = np.array(self._bias) - self._mean @ kernel
        return HeadOnNetwork(network, self._features, kernel, bias)
