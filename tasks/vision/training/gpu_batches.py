"""Batches that a GPU picks and cuts in its own memory: the bytes of `augment.batch`.

One processor core cuts some 60,000 images of 32 pixels a second, a third of what a network takes in
on a large GPU; kept features are larger still.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tasks.vision.data import augment

ROOM = 2**30  # bytes, beside the network and its activations, that any GPU that trains has

BatchMaker = Callable[[np.ndarray, np.ndarray | None, np.ndarray | None, int], Any]


def batch_maker(inputs: np.ndarray) -> BatchMaker:
    """What makes batches of `inputs`, asked like `augment.batch`, where the network is.

    Args:
        inputs: (n, size, size, 3) uint8 images, or (n, features) float16 or float32.
    """
    alone = tf.distribute.get_strategy().num_replicas_in_sync == 1
    fits = inputs.nbytes // inputs.shape[-1] * (inputs.shape[-1] + 1) <= ROOM
    if not (alone and fits and tf.config.get_visible_devices("GPU")):
        return lambda *asked: augment.batch(inputs, *asked)
    return GpuImages(inputs) if inputs.ndim == 4 else GpuFeatures(inputs)


class GpuFeatures:
    """Features on TensorFlow's first device, and batches of them: (b, features) float32."""

    def __init__(self, features: np.ndarray) -> None:
        self._features = tf.constant(features)

    def __call__(self, chosen: np.ndarray, *_: object) -> tf.Tensor:
        return tf.cast(tf.gather(self._features, tf.constant(chosen)), tf.float32)


class GpuImages:
    """Images on TensorFlow's first device, and what is cut out of them: (b, size, size, 3) uint8."""

    def __init__(self, images: np.ndarray) -> None:
        # A pixel is one float32 that nobody computes with: there is no kernel that gathers bytes.
        pixels = np.zeros((*images.shape[:3], 4), np.uint8)
        pixels[..., :3] = images
        self._line = tf.range(images.shape[1], dtype=tf.int64)
        self._pixels = tf.reshape(tf.constant(pixels.view(np.float32)), (-1,))

    def __call__(
        self, chosen: np.ndarray, flips: np.ndarray | None, moves: np.ndarray | None, reach: int
    ) -> tf.Tensor:
        mirror = np.zeros(len(chosen), bool) if flips is None else flips[chosen]
        offsets = np.zeros((len(chosen), 2), np.int64) if moves is None else moves[chosen] - reach
        return _cut(self._pixels, self._line, *map(tf.constant, (chosen, mirror, offsets)))


@tf.function(reduce_retracing=True)
def _cut(
    pixels: tf.Tensor, line: tf.Tensor, chosen: tf.Tensor, mirror: tf.Tensor, offsets: tf.Tensor
) -> tf.Tensor:
    last = line[-1]
    rows = _reflected(line + offsets[:, :1], last)
    columns = _reflected(line + offsets[:, 1:], last)
    columns = tf.where(mirror[:, None], last - columns, columns)
    lines = chosen[:, None] * (last + 1) + rows
    places = lines[:, :, None] * (last + 1) + columns[:, None, :]
    return tf.bitcast(tf.gather(pixels, places), tf.uint8)[..., :3]


def _reflected(places: tf.Tensor, last: tf.Tensor) -> tf.Tensor:
    """Places outside of 0 to `last` as reflected by these two, which are not repeated."""
    return last - tf.abs(last - tf.abs(places))
