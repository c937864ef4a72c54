"""Put the preprocessing that a network was trained with into its graph, so that it takes pixels of 0 to 255.

Keras' networks expect pixels scaled in four ways (`keras.applications.imagenet_utils.preprocess_input`); an
export without the scaling inside would give wrong predictions without an error.
"""

from __future__ import annotations

import math
from typing import Literal

from tasks.vision.pretrained.graph.layer import Layer
from tasks.vision.pretrained.graph.network import LayerConfig, NetworkConfig
from tasks.vision.pretrained.graph.plain_layers import Rescaling, ReverseChannels

# included: by the network's own layers. symmetric: to -1..1. standardised: by ImageNet's mean and deviation, as
# in PyTorch. centred: BGR minus ImageNet's mean, as in Caffe. efficientnet: own layers and one more, below.
Preprocessing = Literal["included", "symmetric", "standardised", "centred", "efficientnet"]
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, RGB, pixels of 0 to 1
MEAN_BGR = (103.939, 116.779, 123.68)  # pixels of 0 to 255
SCALED, REVERSED = "pixels_scaled", "pixels_as_bgr"


def with_preprocessing(config: NetworkConfig, kind: Preprocessing) -> NetworkConfig:
    """Return the network with the layers that scale its pixels before all others."""
    if kind == "included":
        return config
    if kind == "efficientnet":
        return _with_imagenet_deviation(config)
    pixels = config.input
    layers: list[LayerConfig] = []
    if kind == "symmetric":
        layers = [
            Rescaling(name=SCALED, inputs=(pixels,), scale=(1 / 127.5,), offset=(-1.0,)),
        ]
    elif kind == "standardised":
        scale = tuple(1 / (255 * each) for each in DEVIATION)
        offset = tuple(-mean / each for mean, each in zip(MEAN, DEVIATION, strict=True))
        layers = [Rescaling(name=SCALED, inputs=(pixels,), scale=scale, offset=offset)]
    else:
        offset = tuple(-mean for mean in MEAN_BGR)
        layers = [
            ReverseChannels(name=REVERSED, inputs=(pixels,)),
            Rescaling(name=SCALED, inputs=(REVERSED,), offset=offset),
        ]
    return _insert(config, pixels, layers)


def _with_imagenet_deviation(config: NetworkConfig) -> NetworkConfig:
    """EfficientNet B0 to B7 divide by the square root of the deviation once more with ImageNet's weights.

    Keras adds this layer for `weights="imagenet"` alone, not for the same weights by path (tensorflow#62193).
    """
    (after,) = (layer.name for layer in config.layers if layer.kind == "Normalization")
    scale = tuple(1 / math.sqrt(each) for each in DEVIATION)
    return _insert(config, after, [Rescaling(name=SCALED, inputs=(after,), scale=scale)])


def _insert(config: NetworkConfig, after: str, layers: list[LayerConfig]) -> NetworkConfig:
    """Insert a chain of layers between an activation and all that read it."""

    def reading_new(layer: LayerConfig) -> LayerConfig:
        inputs = tuple(layers[-1].name if name == after else name for name in layer.inputs)
        moved: Layer = layer.model_copy(update={"inputs": inputs})
        return moved  # type: ignore[return-value]  # a copy is of the same class

    readers = [reading_new(layer) for layer in config.layers]
    names = [config.input, *(layer.name for layer in config.layers)]
    at = names.index(after)
    whole = (*readers[:at], *layers, *readers[at:])
    return NetworkConfig.model_validate({**config.model_dump(exclude={"layers"}), "layers": whole})
