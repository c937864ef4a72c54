"""Fold normalisation and scaling of a frozen network into the convolutions before them.

A frozen batch normalisation is a factor and a summand per channel, and so is a layer scale. After a linear
convolution both can move into its kernel and bias: the same function up to rounding, in half the passes over
memory (Jacob et al., arXiv 1712.05877, sec. 3.2).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from tasks.vision.pretrained.graph.network import (
    LayerConfig,
    NetworkConfig,
    PretrainedNetwork,
    needed_layers,
)
from tasks.vision.pretrained.graph.plain_layers import Rescaling
from tasks.vision.pretrained.graph.weighted_layers import (
    BatchNormalization,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    LayerScale,
    SeparableConv2D,
)
from tasks.vision.trained_model import Tensors

Linear = Conv2D | DepthwiseConv2D | Dense
Affine = BatchNormalization | LayerScale | Rescaling


def fold(network: PretrainedNetwork, outputs: list[str]) -> PretrainedNetwork:
    """Return a network that computes the activations `outputs` with fewer layers.

    It has only the layers that these need, and the last of `outputs` as its output. Activations in `outputs`
    keep their names and values; others may be missing.
    """
    needed = needed_layers(network.config.layers, *outputs)
    layers, tensors = _split_separable(needed, network.tensors)
    uses = Counter(name for layer in layers for name in layer.inputs)
    uses.update(outputs)
    found: dict[str, LayerConfig] = {}
    for layer in layers:
        before = found.get(layer.inputs[0])
        if (
            isinstance(layer, Affine)
            and isinstance(before, Linear)
            and before.activation == "linear"
            and uses[before.name] == 1
        ):
            del found[before.name]
            found[layer.name] = _merged(before, layer, tensors)
        else:
            found[layer.name] = layer
    config = NetworkConfig(
        name=network.config.name,
        input=network.config.input,
        input_size=network.config.input_size,
        layers=tuple(found.values()),
        output=outputs[-1],
    )
    own = {name: value for name, value in tensors.items() if name.rpartition("/")[0] in found}
    return PretrainedNetwork(config, own)


def _split_separable(
    layers: Sequence[LayerConfig], tensors: Tensors
) -> tuple[list[LayerConfig], Tensors]:
    """Each separable convolution as the two that it consists of."""
    split: list[LayerConfig] = []
    tensors, taken = dict(tensors), {layer.name for layer in layers}
    for layer in layers:
        if not isinstance(layer, SeparableConv2D):
            split.append(layer)
            continue
        depthwise = f"{layer.name}_depthwise"  # Keras refuses names with a slash
        while depthwise in taken:
            depthwise += "_"
        taken.add(depthwise)
        mixes = {"filters", "activation", "use_bias"}  # settings of the second
        window = layer.model_dump(exclude={*mixes, "kind", "name"})
        mixing = layer.model_dump(include=mixes)
        split += [
            DepthwiseConv2D(name=depthwise, use_bias=False, **window),
            Conv2D(name=layer.name, inputs=(depthwise,), kernel_size=(1, 1), **mixing),
        ]
        tensors[f"{depthwise}/kernel"] = tensors.pop(f"{layer.name}/depthwise_kernel")
        tensors[f"{layer.name}/kernel"] = tensors.pop(f"{layer.name}/pointwise_kernel")
    return split, tensors


def _merged(layer: Linear, affine: Affine, tensors: Tensors) -> LayerConfig:
    """The linear layer with the factor and summand of `affine` in its weights, under that one's name."""
    kernel = tensors.pop(f"{layer.name}/kernel").astype(np.float64)
    bias = tensors.pop(f"{layer.name}/bias", np.zeros(1)).astype(np.float64)
    factor, summand = _factor_and_summand(affine, tensors)
    if isinstance(layer, DepthwiseConv2D):  # (height, width, channels, multiplier)
        channels = kernel.shape[2] * kernel.shape[3]
        scaled = kernel * np.broadcast_to(factor, channels).reshape(kernel.shape[2:])
    else:
        channels = kernel.shape[-1]
        scaled = kernel * factor
    tensors[f"{affine.name}/kernel"] = scaled.astype(np.float32)
    shifted = np.broadcast_to(bias * factor + summand, channels)
    tensors[f"{affine.name}/bias"] = shifted.astype(np.float32)
    return layer.model_copy(update={"name": affine.name, "use_bias": True})


def _factor_and_summand(affine: Affine, tensors: Tensors) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(affine, Rescaling):
        return np.array(affine.scale), np.array(affine.offset)

    def weight(name: str, default: float) -> np.ndarray:
        value = tensors.pop(f"{affine.name}/{name}", np.full(1, default, np.float32))
        return value.astype(np.float64)

    factor = weight("gamma", 1.0)
    if isinstance(affine, LayerScale):
        return factor, np.zeros(1)
    factor = factor / np.sqrt(weight("moving_variance", 1.0) + affine.epsilon)
    return factor, weight("beta", 0.0) - weight("moving_mean", 0.0) * factor
