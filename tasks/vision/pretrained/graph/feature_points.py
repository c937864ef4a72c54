"""Which activations of a pretrained network are its features. No TensorFlow."""

from __future__ import annotations

import math
from typing import Literal

from tasks.vision.pretrained.graph.network import PretrainedNetwork, needed_layers
from tasks.vision.pretrained.graph.plain_layers import (
    Cropping2D,
    GlobalPooling2D,
    Reshape,
    ZeroPadding2D,
)

Features = Literal["last layer", "every layer"]
# Chosen on validation images of five kinds of flowers: maps of larger scales make a head no better.
SCALES, MAPS = 2, 4


def last_features(network: PretrainedNetwork) -> str:
    """Name of the activation before the classification head; the output of a network without one."""
    layers = {layer.name: layer for layer in network.config.layers}
    return layers[network.head].inputs[0] if network.head else network.config.output


def late_maps(network: PretrainedNetwork) -> list[str]:
    """Names of the last feature maps of the two smallest scales, at most four of each, in the graph's order.

    Of several maps of one shape, the last. A scale is a power of two by which the images are reduced, at the
    size that the network was made for, so that the choice doesn't depend on the size in use. The last map of
    all is left out: pooled, it equals `last_features`, or is what those are computed from.
    """
    shapes = network.config.shapes(network.size)
    maps: dict[tuple[int, int], str] = {}
    for layer in needed_layers(network.config.layers, last_features(network)):
        shape = shapes[layer.name]
        margins = isinstance(layer, ZeroPadding2D | Cropping2D | GlobalPooling2D | Reshape)
        if margins or len(shape) != 3 or max(shape[:2]) == 1:
            continue
        scale = round(math.log2(network.size / shape[0]))
        maps.pop((scale, shape[-1]), None)  # so that the order is that of the last of each shape
        maps[scale, shape[-1]] = layer.name
    *others, _ = maps.items() if maps else [((0, 0), "")]
    smallest = sorted({scale for scale, _ in maps if scale > 0})[-SCALES:]
    by_scale = [[name for (at, _), name in others if at == scale][-MAPS:] for scale in smallest]
    return [name for names in by_scale for name in names]


def feature_names(network: PretrainedNetwork, features: Features) -> list[str]:
    """Names of the activations that make up the features, in the order of their concatenation."""
    ends = late_maps(network) if features == "every layer" else []
    return [*ends, last_features(network)]


def feature_width(network: PretrainedNetwork, features: Features) -> int:
    """Number of features of an image."""
    shapes = network.config.shapes(network.size)
    names = feature_names(network, features)
    return sum(
        shapes[name][-1] if len(shapes[name]) == 3 else math.prod(shapes[name]) for name in names
    )
