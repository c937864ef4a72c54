"""Predictions of a trained model: the pure function behind evaluation and prediction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tasks.vision.data.images import Images, pieces
from tasks.vision.device import Device
from tasks.vision.network.networks import build_model, predict_batch
from tasks.vision.network.runtime import set_up
from tasks.vision.network.weights import set_weights
from tasks.vision.pretrained.compute.features import batch_size
from tasks.vision.pretrained.compute.head_model import HeadOutput, head_function
from tasks.vision.trained_model import Card, Tensors

PRETRAINED = 256  # images for a pretrained network at a time, or one batch


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
        parts = [self._forward(part) for _, part in pieces(images, self._batch(images))]
        unlike = [part.unlike for part in parts if part.unlike is not None]
        return Predicted(
            self._probabilities(np.concatenate([part.logits for part in parts])),
            np.concatenate(unlike) if unlike else None,
        )

    def __call__(self, images: Images) -> np.ndarray:
        """Return the probabilities of every label, (n, labels) float32, for images as of `predict`."""
        logits = self._no_logits(len(images))
        for chosen, part in pieces(images, self._batch(images)):
            logits[chosen] = self._plain(part)
        return self._probabilities(logits)

    def with_average(self, images: Images) -> tuple[np.ndarray, np.ndarray]:
        """Return the probabilities, and those with test-time augmentation, in one pass over the images.

        The latter are from half the mean logits of an image and its mirror (if the model was trained on
        mirror images), and a quarter each of the same with the image moved a pixel up-left and
        down-right (Jordan, arXiv 2404.00498, sec. 3.6).

        Args:
            images: (n, size, size, 3) uint8, of the size that the model was built for.
        """
        plain, averaged = self._no_logits(len(images)), self._no_logits(len(images))
        for chosen, part in pieces(images, self._batch(images)):
            plain[chosen] = logits = self._plain(part)
            averaged[chosen] = self._averaged(part, logits)
        return self._probabilities(plain), self._probabilities(averaged)

    def _batch(self, images: Images) -> int:
        """How many images are predicted at a time; a pretrained network takes batches of a size of its own."""
        if not self._card.pretrained:
            return predict_batch(images)
        size = batch_size(images.shape[1])
        return size * max(1, PRETRAINED // size)

    def _no_logits(self, count: int) -> np.ndarray:
        return np.empty((count, self._card.architecture.outputs), np.float32)

    def _probabilities(self, logits: np.ndarray) -> np.ndarray:
        if self._card.binary:
            positive = 1 / (1 + np.exp(-logits[:, 0].astype(np.float64)))
            return np.stack([positive, 1 - positive], 1).astype(np.float32)
        return tf.nn.softmax(logits).numpy()

    def _plain(self, x: np.ndarray) -> np.ndarray:
        return self._forward(x).logits

    def _mirrored(self, x: np.ndarray, plain: np.ndarray) -> np.ndarray:
        if not self._card.flip:
            return plain
        return 0.5 * (plain + self._plain(np.ascontiguousarray(x[:, :, ::-1])))

    def _averaged(self, x: np.ndarray, plain: np.ndarray) -> np.ndarray:
        size = x.shape[1]
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
        moved = [
            np.ascontiguousarray(each) for each in (padded[:, :size, :size], padded[:, 2:, 2:])
        ]
        return 0.5 * self._mirrored(x, plain) + 0.25 * sum(
            self._mirrored(each, self._plain(each)) for each in moved
        )
