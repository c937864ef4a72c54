"""Transfer: a new head on a frozen backbone, trained on features that are computed once.

The backbone never changes, so neither do its features: one pass over the images replaces a
forward pass in every epoch. A head sees the backbone's last layer, as in the exercise, or features
pooled to 3x3 from every layer (Head2Toe, Evci et al., arXiv 2201.03529, sec. 3): a network trained
for two classes has in its early layers what its last ones have discarded.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tasks.vision.data.batches.augment import evenly_spaced
from tasks.vision.data.images import Images, pieces, select
from tasks.vision.network.distribution import totals
from tasks.vision.network.networks import (
    HEAD,
    PREDICT_BATCH,
    STANDARDISE,
    batch_norm_layers,
    predict_batch,
)
from tasks.vision.network.weights import named_variables
from tasks.vision.trained_model import Tensors, digest
from tasks.vision.training.state import Checkpointer, raise_if_stopped


def head_inputs(model: keras.Model) -> keras.Model:
    """Return the part of `model` before its head: uint8 images to features, not standardised."""
    head = model.get_layer(HEAD)
    source = model.get_layer(STANDARDISE) if _standardises(model) else head
    return keras.Model(model.input, source.input)


def compute_features(
    model: keras.Model, images: Images, checkpointer: Checkpointer | None = None
) -> np.ndarray:
    """Run the frozen part over all images once: (n, features) float16, half the memory of float32."""
    frozen = head_inputs(model)
    any_number = [tf.TensorSpec((None, *images.shape[1:]), tf.uint8)]  # one trace for every length
    forward = tf.function(lambda x: tf.cast(frozen(x, training=False), tf.float32), any_number)
    out = np.empty((len(images), frozen.output.shape[-1]), np.float16)
    for chosen, part in pieces(images, predict_batch(images)):
        raise_if_stopped(checkpointer)
        out[chosen] = forward(part).numpy()
    return out


def head_model(model: keras.Model, features: Images) -> keras.Model:
    """A model of the head alone, sharing its variables with `model`: features to logits.

    Sets the standardisation, where the model has one, from the training `features`, and the head
    to zero: the first step then follows the gradient alone, without random numbers.
    """
    inputs = x = keras.Input((features.shape[1],))
    if _standardises(model):
        layer = model.get_layer(STANDARDISE)
        mean, variance = _moments(features)
        # A constant feature carries no information: it becomes zero, not a division by zero.
        layer.moving_mean.assign(mean)
        layer.moving_variance.assign(np.where(variance > 1e-10, variance, 1.0))
        x = layer(x)
    logits = model.get_layer(HEAD)(x)
    if any(layer.name == "logits" for layer in model.layers):
        logits = model.get_layer("logits")(logits)
    for variable in model.get_layer(HEAD).variables:
        variable.assign(tf.zeros(variable.shape))
    return keras.Model(inputs, logits)


def _moments(features: Images) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of each feature in float64, without a float64 copy of them all."""
    total = np.zeros((2, features.shape[1]))
    for start in range(0, len(features), PREDICT_BATCH):
        part = features[start : start + PREDICT_BATCH].astype(np.float64)
        total += part.sum(0), (part**2).sum(0)
    mean, square = total / len(features)
    return mean, np.maximum(square - mean**2, 0)


def _standardises(model: keras.Model) -> bool:
    return any(layer.name == STANDARDISE for layer in model.layers)


def backbone_weights(tensors: Tensors) -> Tensors:
    """Return the tensors that a transfer loads: all but the head's own."""
    own = (f"{HEAD}/", f"{STANDARDISE}/")
    return {name: value for name, value in tensors.items() if not name.startswith(own)}


def load_backbone(model: keras.Model, parent: Tensors, perturb: float = 0.0) -> None:
    """Set the backbone of `model` to the parent's, and leave the head as it is.

    Args:
        perturb: share of the random weights of `model` to mix into every trainable kernel, once
            both have the same norm: "shrink and perturb" (Ash and Adams, arXiv 1910.08475, sec. 4).
            The mix is scaled to the norm of the parent's kernel.
    """
    backbone = backbone_weights(parent)
    for name, variable in named_variables(model):
        if name in backbone:
            value = backbone[name]
            if perturb and variable.trainable and value.ndim > 1:
                value = _mixed(value, variable.numpy(), perturb)
            variable.assign(value)


def _mixed(kernel: np.ndarray, fresh: np.ndarray, share: float) -> np.ndarray:
    length = np.linalg.norm(kernel)
    mix = (1 - share) * kernel + share * length / np.linalg.norm(fresh) * fresh
    return (length / np.linalg.norm(mix) * mix).astype(np.float32)


def recalibrate_batch_norm(
    model: keras.Model,
    images: Images,
    checkpointer: Checkpointer | None = None,
    batches: int = 5,
) -> None:
    """Re-estimate moving statistics over 5 batches, since momentum 0.6 averages about two.

    Frozen blocks are skipped.
    """
    layers = [layer for layer in batch_norm_layers(model) if layer.trainable]
    chosen = evenly_spaced(len(images), batches * PREDICT_BATCH)
    strategy = tf.distribute.get_strategy()
    for i in range(batches if layers else 0):
        raise_if_stopped(checkpointer)
        batch = tf.constant(np.asarray(select(images, chosen[i::batches])))
        # All devices see the same images, which leaves the means unchanged.
        strategy.run(lambda x: model(x, training=True), (batch,))
    for layer in layers:
        layer.update_statistics(totals(layer.sums), momentum=0.0)


def compare_frozen_weights(parent: Tensors, child: Tensors) -> dict[str, Any]:
    """Compare the backbone's tensors before and after by their SHA-256 digests."""
    after = backbone_weights(child)
    was, now = digest(backbone_weights(parent)), digest(after)
    return {
        "tensors": len(after),
        "parent_digest": f"sha256:{was}",
        "digest": f"sha256:{now}",
        "equal": was == now,
    }
