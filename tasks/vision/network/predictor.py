"""Predictions of a trained model: the pure function behind evaluation and prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tasks.vision.data.images import Images
from tasks.vision.device import Device
from tasks.vision.network.networks import PREDICT_BATCH, build_model
from tasks.vision.network.runtime import set_up
from tasks.vision.network.weights import set_weights
from tasks.vision.pretrained.compute.head_model import HeadOutput, head_function
from tasks.vision.trained_model import Card, Tensors


@dataclass(frozen=True)
class Predicted:
    """Predictions for n images.

    Attributes:
        probabilities: of every label, (n, labels) float32.
        unlike: (n,) share of the validation images that are more like training than each; None for models
            without such a score: relevo's own networks, and older heads.
    """

    probabilities: np.ndarray
    unlike: np.ndarray | None


def _own_network(card: Card, tensors: Tensors) -> Callable[[np.ndarray], HeadOutput]:
    """Return a function from images to logits by a network that relevo builds itself."""
    model = build_model(card.architecture)
    set_weights(model, tensors)
    forward = tf.function(lambda x: model(x, training=False), reduce_retracing=True)
    return lambda images: HeadOutput(forward(images).numpy(), None)


class Predictor:
    """A model built and compiled once, which predicts any number of images."""

    def __init__(self, card: Card, tensors: Tensors, device: Device) -> None:
        self._card = card
        set_up(device.in_float32 if card.pretrained else device)
        self._forward = (head_function if card.pretrained else _own_network)(card, tensors)

    def predict(self, images: np.ndarray) -> Predicted:
        """Return the predictions for images (n, size, size, 3) uint8, in one pass."""
        if not len(images):
            return Predicted(self(images), None)
        parts = [self._forward(part) for part in _batches(images)]
        unlike = [part.unlike for part in parts if part.unlike is not None]
        return Predicted(
            self._probabilities([part.logits for part in parts]),
            np.concatenate(unlike) if unlike else None,
        )

    def __call__(self, images: Images, *, average: bool = False) -> np.ndarray:
        """Return the probabilities of every label: (n, labels) float32.

        Args:
            images: (n, size, size, 3) uint8, of the size that the model was built for.
            average: test-time augmentation: half the mean logits of an image and its mirror (if the
                model was trained on mirror images), a quarter each of the same with the image moved a
                pixel up-left and down-right (Jordan, arXiv 2404.00498, sec. 3.6).
        """
        forward = self._averaged if average else self._plain
        return self._probabilities([forward(part) for part in _batches(images)])

    def _probabilities(self, parts: list[np.ndarray]) -> np.ndarray:
        outputs = self._card.architecture.outputs
        scores = np.concatenate(parts) if parts else np.empty((0, outputs), np.float32)
        if self._card.binary:
            positive = 1 / (1 + np.exp(-scores[:, 0].astype(np.float64)))
            return np.stack([positive, 1 - positive], 1).astype(np.float32)
        return tf.nn.softmax(scores).numpy()

    def _plain(self, x: np.ndarray) -> np.ndarray:
        return self._forward(x).logits

    def _mirrored(self, x: np.ndarray) -> np.ndarray:
        if not self._card.flip:
            return self._plain(x)
        return 0.5 * (self._plain(x) + self._plain(np.ascontiguousarray(x[:, :, ::-1])))

    def _averaged(self, x: np.ndarray) -> np.ndarray:
        size = x.shape[1]
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
        moved = [padded[:, :size, :size], padded[:, 2:, 2:]]
        return 0.5 * self._mirrored(x) + 0.25 * sum(
            self._mirrored(np.ascontiguousarray(each)) for each in moved
        )


def _batches(images: Images) -> Iterator[np.ndarray]:
    return (images[i : i + PREDICT_BATCH] for i in range(0, len(images), PREDICT_BATCH))
