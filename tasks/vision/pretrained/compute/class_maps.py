"""Class activation maps of a head on a pretrained network: which parts of an image decided. In TensorFlow.

Zhou et al., arXiv 1512.04150. The features are means of feature maps and the head is linear, so a label's logit
is the mean over all positions of what each contributes: exact if every feature is the mean of a map.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tasks.vision.errors import BadInput
from tasks.vision.pretrained.compute.features import batch_size, in_batches
from tasks.vision.pretrained.compute.forward_pass import ForwardPass
from tasks.vision.pretrained.graph.feature_points import feature_names
from tasks.vision.pretrained.graph.fold import fold
from tasks.vision.pretrained.graph.head_tensors import HeadOnNetwork, split_tensors
from tasks.vision.pretrained.graph.plain_layers import GlobalPooling2D
from tasks.vision.trained_model import Card, Tensors

SIDE = 28  # positions per side of a map


def class_maps(card: Card, tensors: Tensors) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return a function from images and one label each to maps of the evidence for that label.

    It takes (n, size, size, 3) uint8 images and (n,) indices of labels, and returns (n, 28, 28) float32: the
    evidence for the label minus the mean over all labels, so positive where it supports the label.

    Raises:
        BadInput: none of the model's features comes from a map.
    """
    model, size = split_tensors(card, tensors), card.architecture.image_size
    pieces = _pieces(model, size)
    names, batch = list(pieces), batch_size(size)
    forward_pass = ForwardPass(fold(model.network, names), "float32")
    weights = [tf.constant(_per_label(kernel, card)) for kernel in pieces.values()]

    @tf.function(
        input_signature=[
            tf.TensorSpec((batch, size, size, 3), tf.uint8),
            tf.TensorSpec((batch,), tf.int32),
        ]
    )
    def forward(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        total = tf.zeros((batch, SIDE, SIDE, 1))
        for activation, kernel in zip(forward_pass(images, names), weights, strict=True):
            chosen = tf.gather(kernel, labels)  # (batch, channels)
            evidence = tf.einsum("nhwc,nc->nhw", tf.cast(activation, tf.float32), chosen)
            total += tf.image.resize(evidence[..., None], (SIDE, SIDE), "bilinear")
        return total[..., 0]

    def compute(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return in_batches(forward, batch, (SIDE, SIDE), images, labels.astype(np.int32))

    return compute


def _pieces(model: HeadOnNetwork, size: int) -> dict[str, np.ndarray]:
    """The rows of the head's kernel that belong to each feature map, by the map's name."""
    shapes = model.network.config.shapes(size)
    layers = {layer.name: layer for layer in model.network.config.layers}
    found: dict[str, np.ndarray] = {}
    row = 0
    for name in feature_names(model.network, model.features):
        shape, layer = shapes[name], layers[name]
        width = shape[-1] if len(shape) == 3 else int(np.prod(shape))
        kernel = model.kernel[row : row + width]
        row += width
        if isinstance(layer, GlobalPooling2D) and layer.kind == "GlobalAveragePooling2D":
            name, shape = layer.inputs[0], shapes[layer.inputs[0]]
        if len(shape) == 3:
            found[name] = found[name] + kernel if name in found else kernel
    if not found:
        raise BadInput(
            f"there are no class maps for the network {model.network.config.name}, since its features are not "
            "means of feature maps; expected a network with global average pooling"
        )
    return found


def _per_label(kernel: np.ndarray, card: Card) -> np.ndarray:
    """Evidence of each channel for each label: (labels, channels), of mean 0 over the labels."""
    if card.binary:  # one logit, of the first label
        return np.stack([kernel[:, 0], -kernel[:, 0]])
    return np.ascontiguousarray((kernel - kernel.mean(1, keepdims=True)).T)
