"""The same network with random weights: the control that shows what pretraining was worth."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tasks.vision.pretrained.graph.layer import Shape
from tasks.vision.pretrained.graph.network import PretrainedNetwork

ONES = {"gamma", "moving_variance"}


def random_weights(network: PretrainedNetwork, seed: int) -> PretrainedNetwork:
    """Return the network as Keras would initialise it: kernels Glorot uniform, biases 0, statistics 0 and 1.

    Normalization layers keep their weights, since they are preprocessing. Each tensor is a function of the
    seed and its name.
    """
    preprocessing = {layer.name for layer in network.config.layers if layer.kind == "Normalization"}
    tensors = {
        name: value
        if name.rpartition("/")[0] in preprocessing
        else _initial(name, value.shape, seed)
        for name, value in network.tensors.items()
    }
    return replace(network, tensors=tensors)


def _initial(name: str, shape: Shape, seed: int) -> np.ndarray:
    weight = name.rpartition("/")[2]
    if weight.endswith("kernel"):
        # Keras counts the last two axes as inputs and outputs, for depthwise kernels too.
        window = math.prod(shape[:-2])
        limit = math.sqrt(6 / (window * (shape[-2] + shape[-1])))
        rng = np.random.default_rng([seed, *name.encode()])
        return rng.uniform(-limit, limit, shape).astype(np.float32)
    return np.full(shape, float(weight in ONES), np.float32)
