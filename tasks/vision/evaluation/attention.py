"""Class maps of a head on a pretrained network for a few test images, small enough to be stored."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tasks.vision.data.batches.augment import evenly_spaced
from tasks.vision.data.images import Images
from tasks.vision.device import find_device, loading_tensorflow
from tasks.vision.errors import BadInput
from tasks.vision.trained_model import Card, Tensors

EACH = 4  # correct predictions, and mistakes


class Maps(NamedTuple):
    """Evidence for the predicted label, by position in the image, of some test images.

    Attributes:
        answers: (n,) int64, the positions of these images among the model's predictions.
        evidence: (n, side, side) uint8, relative to each image's maximum; 0 is evidence against the label.
    """

    answers: np.ndarray
    evidence: np.ndarray

    def check(self, answers: int) -> None:
        """Raise ValueError unless they are maps for some of `answers` predictions."""
        index, evidence = self.answers, self.evidence
        known = index.dtype == np.int64 and index.ndim == 1 and np.isin(index, range(answers)).all()
        if not known or evidence.dtype != np.uint8 or evidence.ndim != 3:
            raise ValueError("maps of another form")
        if len(evidence) != len(index) or not evidence.size:
            raise ValueError("not one map for each answer")


def maps_of(
    card: Card,
    tensors: Tensors,
    truth: np.ndarray,
    probabilities: np.ndarray,
    images: Images,
    positions: np.ndarray,
) -> Maps | None:
    """Return the maps of some correct predictions and of the most confident mistakes.

    None if no feature of the model comes from a map.

    Args:
        truth: (n,) target indices. probabilities: (n, labels).
        images: (m, size, size, 3) uint8, read on access. positions: (n,) of the predicted images among them.
    """
    with loading_tensorflow():
        from tasks.vision.network.runtime import set_up
        from tasks.vision.pretrained.compute.class_maps import class_maps

    set_up(find_device().in_float32)
    try:
        compute = class_maps(card, tensors)
    except BadInput:
        return None
    chosen = some_answers(truth, probabilities)
    evidence = compute(images[positions[chosen]], probabilities[chosen].argmax(1)).clip(0)
    most = evidence.max((1, 2), keepdims=True)
    return Maps(chosen, np.rint(255 * evidence / np.where(most > 0, most, 1)).astype(np.uint8))


def some_answers(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Indices of correct predictions, evenly spaced, then of the mistakes of the highest confidence."""
    correct = probabilities.argmax(1) == truth
    right, wrong = np.flatnonzero(correct), np.flatnonzero(~correct)
    right = right[evenly_spaced(len(right), EACH)]
    by_confidence = wrong[np.argsort(-probabilities[wrong].max(1), kind="stable")]
    return np.concatenate([right, by_confidence[:EACH]])
