"""Batches picked and cropped in a GPU's own memory, byte for byte those of `augment.batch`.

One processor core crops some 60,000 images of 32 pixels a second, a third of what a network takes in
on a large GPU; cached features are larger still.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tasks.vision.data.batches import augment
from tasks.vision.data.images import Images

MAX_BYTES = 2**30  # any GPU used for training has that much beside the network and its activations

BatchMaker = Callable[[np.ndarray, np.ndarray | None, np.ndarray | None, int], Any]


def batch_maker(inputs: Images) -> BatchMaker:
    """Return a function with `augment.batch`'s signature that builds batches on the network's device.

    Args:
        inputs: (n, size, size, 3) uint8 images, or (n, features) float16 or float32.
    """
    alone = tf.distribute.get_strategy().num_replicas_in_sync == 1
    fits = inputs.nbytes // inputs.shape[-1] * (inputs.shape[-1] + 1) <= MAX_BYTES
    if not (alone and fits and tf.config.get_visible_devices("GPU")):
        return lambda *batch: augment.batch(inputs, *batch)
    return GpuImages(inputs) if inputs.ndim == 4 else GpuFeatures(inputs)


def reads_inputs(make: BatchMaker) -> bool:
    """Whether batches are read from the inputs, which a GPU's memory doesn't hold."""
    return not isinstance(make, GpuFeatures | GpuImages)


class GpuFeatures:
    """Features on TensorFlow's first device, and batches of them: (b, features) float32."""

    def __init__(self, features: Images) -> None:
        self._features = tf.constant(np.asarray(features))

    def __call__(self, chosen: np.ndarray, *_: object) -> tf.Tensor:
        return tf.cast(tf.gather(self._features, tf.constant(chosen)), tf.float32)


class GpuImages:
    """Images on TensorFlow's first device, and crops of them: (b, size, size, 3) uint8."""

    def __init__(self, images: Images) -> None:
        # A pixel is stored as one float32 that is never computed with: no GPU kernel gathers bytes.
        pixels = np.zeros((*images.shape[:3], 4), np.uint8)
        pixels[..., :3] = images
        self._line = tf.range(images.shape[1], dtype=tf.int64)
        self._pixels = tf.reshape(tf.constant(pixels.view(np.float32)), (-1,))

    def __call__(
        self, chosen: np.ndarray, flips: np.ndarray | None, moves: np.ndarray | None, reach: int
    ) -> tf.Tensor:
        mirror = np.zeros(len(chosen), bool) if flips is None else flips[chosen]
        offsets = np.zeros((len(chosen), 2), np.int64) if moves is None else moves[chosen] - reach
        return _crop(self._pixels, self._line, *map(tf.constant, (chosen, mirror, offsets)))


@tf.function(reduce_retracing=True)
def _crop(
    pixels: tf.Tensor, line: tf.Tensor, chosen: tf.Tensor, mirror: tf.Tensor, offsets: tf.Tensor
) -> tf.Tensor:
    last = line[-1]
    rows = _reflected(line + offsets[:, :1], last)
    columns = _reflected(line + offsets[:, 1:], last)
    columns = tf.where(mirror[:, None], last - columns, columns)
    lines = chosen[:, None] * (last + 1) + rows
    positions = lines[:, :, None] * (last + 1) + columns[:, None, :]
    return tf.bitcast(tf.gather(pixels, positions), tf.uint8)[..., :3]


def _reflected(positions: tf.Tensor, last: tf.Tensor) -> tf.Tensor:
    """Reflect positions outside 0 to `last` at these two, which are not repeated."""
    return last - tf.abs(last - tf.abs(positions))
