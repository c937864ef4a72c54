"""What a finished model says of images: the pure function behind evaluation and prediction."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tasks.vision.hardware import Device
from tasks.vision.model import Card, Tensors
from tasks.vision.runtime import set_up
from tasks.vision.trainer import PREDICT_BATCH
from tasks.vision.transfer import build_model
from tasks.vision.variables import assign


def predict(
    card: Card, tensors: Tensors, images: np.ndarray, device: Device, *, average: bool = False
) -> np.ndarray:
    """Probabilities of every label: (n, labels) float32.

    Args:
        images: (n, size, size, 3) uint8, of the size that the model was built for.
        average: test-time augmentation: half the mean logits of an image and its mirror (if the
            model learnt from mirror images), a quarter each of the same with the image moved a pixel
            up-left and down-right (Jordan, arXiv 2404.00498, sec. 3.6).
    """
    set_up(device)
    model = build_model(card.architecture)
    assign(model, tensors)

    @tf.function(reduce_retracing=True)
    def plain(x: tf.Tensor) -> tf.Tensor:
        return model(x, training=False)

    def mirror(x: np.ndarray) -> np.ndarray:
        if not card.flip:
            return plain(x).numpy()
        return 0.5 * (plain(x).numpy() + plain(np.ascontiguousarray(x[:, :, ::-1])).numpy())

    def logits(x: np.ndarray) -> np.ndarray:
        if not average:
            return plain(x).numpy()
        size = x.shape[1]
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
        moved = [padded[:, :size, :size], padded[:, 2:, 2:]]
        return 0.5 * mirror(x) + 0.25 * sum(mirror(np.ascontiguousarray(m)) for m in moved)

    parts = [logits(images[i : i + PREDICT_BATCH]) for i in range(0, len(images), PREDICT_BATCH)]
    scores = (
        np.concatenate(parts) if parts else np.empty((0, card.architecture.outputs), np.float32)
    )
    if card.binary:
        positive = 1 / (1 + np.exp(-scores[:, 0].astype(np.float64)))
        return np.stack([positive, 1 - positive], 1).astype(np.float32)
    return tf.nn.softmax(scores).numpy()
