"""Rebuild a pretrained network from Keras' stock layers, in code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from tasks.vision.pretrained.graph.network import LayerConfig, PretrainedNetwork
from tasks.vision.trained_model import Tensors

OURS = {"name", "inputs", "kind"}  # of a layer's description, no settings of Keras' layer


def rebuild(network: PretrainedNetwork, size: int) -> keras.Model:
    """Return the network for images of `size` pixels per side, with its weights, frozen.

    Takes (n, size, size, 3) images of values 0 to 255, and returns what the file's network does. It has no
    dropout or other randomness. Its layers have the names of `network.config` and are `trainable = False`
    each, also where training is asked for: batch normalisation would use other statistics.

    Raises:
        BadInput: it can't take images of that size.
    """
    network.check_size(size)
    config = network.config
    known = {config.input: keras.Input((size, size, 3), dtype="float32", name=config.input)}
    for description in config.layers:
        layer = _stock(description, _weights(network.tensors, description))
        inputs = [known[name] for name in description.inputs]
        known[description.name] = layer(inputs if len(inputs) > 1 else inputs[0])
    model = keras.Model(known[config.input], known[config.output], name=config.name)
    for key, variable in _variables(model, network):
        value = network.tensors[key]
        variable.assign(value.reshape(variable.shape))
    for description in config.layers:
        if description.kind == "ReverseChannels":  # not by an initializer, which plain Keras lacks
            model.get_layer(description.name).kernel.assign(RGB_AS_BGR)
    for layer in model.layers:
        layer.trainable = False
    return model


def _variables(model: keras.Model, network: PretrainedNetwork) -> Iterator[tuple[str, Any]]:
    """Yield the name of every tensor and Keras' variable for it."""
    for description in network.config.layers:
        if description.kind not in _CONSTANT:
            names = _weights(network.tensors, description)
            variables = model.get_layer(description.name).weights
            for name, variable in zip(names, variables, strict=True):
                yield f"{description.name}/{name}", variable


def _weights(tensors: Tensors, layer: LayerConfig) -> Tensors:
    """A layer's tensors by the names of its weights, in Keras' order."""
    names = [name for name in ORDER if f"{layer.name}/{name}" in tensors]
    return {name: tensors[f"{layer.name}/{name}"] for name in names}


ORDER = (
    *("depthwise_kernel", "pointwise_kernel", "kernel", "bias", "alpha"),
    *("gamma", "beta", "moving_mean", "moving_variance", "mean", "variance"),
)


def _stock(layer: LayerConfig, weights: Tensors) -> Any:
    """Keras' own layer for a description."""
    kind = layer.kind
    # Whatever Keras' policy in this process: a stage trained before may have set bfloat16.
    common = {"name": layer.name, "dtype": "float32"}
    settings = {name: value for name, value in layer if name not in OURS}
    if kind == "Rescaling":
        settings = {k: v[0] if len(v) == 1 else list(v) for k, v in settings.items()}
    elif kind == "PReLU":
        settings = {"shared_axes": list(settings["shared_axes"]) or None}
    elif kind == "Normalization":
        settings = {name: value.tolist() for name, value in weights.items()}
    elif kind == "LayerScale":  # keras.applications' own class; this is the same as a stock layer
        return keras.layers.DepthwiseConv2D(1, use_bias=False, **common)
    elif kind == "ReverseChannels":
        return keras.layers.Conv2D(3, 1, use_bias=False, **common)
    return getattr(keras.layers, kind)(**common, **settings)


_CONSTANT = {"Normalization", "ReverseChannels"}
RGB_AS_BGR = np.eye(3, dtype=np.float32)[::-1].reshape(1, 1, 3, 3)
