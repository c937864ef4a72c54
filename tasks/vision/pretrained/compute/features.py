"""Features of a frozen pretrained network: computed fast, and bit-identical from run to run."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tasks.vision.data.images import Images, pieces
from tasks.vision.pretrained.compute.forward_pass import ForwardPass
from tasks.vision.pretrained.graph.feature_points import Features, feature_names, feature_width
from tasks.vision.pretrained.graph.fold import fold
from tasks.vision.pretrained.graph.network import PretrainedNetwork

PIXELS = 16 * 224**2  # of a batch: its activations stay in the cache, which is fastest
MOST = 64  # images; the last batch is filled up


def batch_size(size: int) -> int:
    """Number of images of `size` pixels per side that are computed at a time."""
    return max(1, min(MOST, PIXELS // size**2))


def pooled(activations: list[tf.Tensor]) -> tf.Tensor:
    """Return features (n, d) float32: the mean over each map, anything else flattened."""
    inputs = [tf.cast(x, tf.float32) for x in activations]
    means = [tf.reduce_mean(x, (1, 2)) if len(x.shape) == 4 else x for x in inputs]
    return tf.concat([tf.reshape(x, (-1, math.prod(x.shape[1:]))) for x in means], 1)


def feature_extractor(
    network: PretrainedNetwork,
    size: int,
    features: Features = "last layer",
    policy: str = "float32",
) -> Callable[[Images], np.ndarray]:
    """Return a function from (n, size, size, 3) uint8 images to (n, d) float32 features.

    Images go through in batches of one fixed size, the last filled up with black ones, so that the bits of a
    feature don't depend on how many images there are.

    Args:
        features: "last layer" is what the classification head sees; "every layer" adds the maps of
            `late_maps`, each averaged over its positions.
        policy: Keras' dtype policy, "float32" or "mixed_bfloat16".

    Raises:
        BadInput: the network can't take images of that size.
    """
    network.check_size(size)
    names = feature_names(network, features)
    width = feature_width(network, features)
    batch = batch_size(size)
    folded = fold(network, names)
    forward_pass = ForwardPass(folded, policy.removeprefix("mixed_"))

    def forward(images: tf.Tensor) -> tf.Tensor:
        return pooled(forward_pass(images, names))

    compiled = tf.function(
        forward, input_signature=[tf.TensorSpec((batch, size, size, 3), tf.uint8)]
    )

    return lambda images: in_batches(compiled, batch, (width,), images)


def in_batches(
    function: Callable[..., tf.Tensor],
    batch: int,
    shape: tuple[int, ...],
    images: Images,
    *more: np.ndarray,
) -> np.ndarray:
    """Return what a function of `batch` rows gives for arrays of n: (n, *shape) float32.

    The last batch is filled up with zeros.
    """
    found = np.empty((len(images), *shape), np.float32)
    for chosen, part in pieces(images, batch):
        parts = [part, *(each[chosen] for each in more)]
        if missing := batch - len(part):
            parts = [np.pad(each, ((0, missing), *[(0, 0)] * (each.ndim - 1))) for each in parts]
        found[chosen] = function(*parts).numpy()[: len(part)]
    return found
