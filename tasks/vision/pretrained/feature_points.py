"""Which activations of a pretrained network are its features. No TensorFlow."""

from __future__ import annotations

import math
from typing import Literal

from tasks.vision.pretrained.network import PretrainedNetwork
from tasks.vision.pretrained.plain_layers import (
    Cropping2D,
    GlobalPooling2D,
    Reshape,
    ZeroPadding2D,
)

Features = Literal["last layer", "every layer"]


def last_features(network: PretrainedNetwork) -> str:
    """Name of the activation before the classification head; the output of a network without one."""
    layers = {layer.name: layer for layer in network.config.layers}
    return layers[network.head].inputs[0] if network.head else network.config.output


def stage_ends(network: PretrainedNetwork) -> list[str]:
    """Names of the last feature map of each spatial scale, but that of the last one.

    A scale is a power of two by which the images have shrunk, at the size that the network was made for, so
    that the choice doesn't depend on the size in use. The last map is left out: pooled, it is what
    `last_features` has, or what that was made from.
    """
    shapes = network.config.shapes(network.size)
    layers = {layer.name: layer for layer in network.config.layers}
    ends: dict[int, str] = {}
    for name in ancestors(network, last_features(network)):
        shape, layer = shapes[name], layers.get(name)
        margins = isinstance(layer, ZeroPadding2D | Cropping2D | GlobalPooling2D | Reshape)
        if layer is None or margins or len(shape) != 3 or max(shape[:2]) == 1:
            continue
        ends[round(math.log2(network.size / shape[0]))] = name
    return [ends[scale] for scale in sorted(ends)[:-1] if scale > 0]


def feature_names(network: PretrainedNetwork, features: Features) -> list[str]:
    """Names of the activations that make up the features, in the order of their concatenation."""
    ends = stage_ends(network) if features == "every layer" else []
    return [*ends, last_features(network)]


def feature_width(network: PretrainedNetwork, features: Features) -> int:
    """Number of features of an image."""
    shapes = network.config.shapes(network.size)
    names = feature_names(network, features)
    return sum(
        shapes[name][-1] if len(shapes[name]) == 3 else math.prod(shapes[name]) for name in names
    )


def ancestors(network: PretrainedNetwork, *names: str) -> list[str]:
    """Names of what the activations `names` are computed from, and themselves, in the graph's order."""
    needed = set(names)
    for layer in reversed(network.config.layers):
        if layer.name in needed:
            needed |= set(layer.inputs)
    return [layer.name for layer in network.config.layers if layer.name in needed]
