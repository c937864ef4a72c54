"""A model's predictions on labelled images, and their scores."""

from __future__ import annotations

import numpy as np

from tasks.vision.data.images import Images
from tasks.vision.device import find_device, loading_tensorflow
from tasks.vision.errors import BadInput
from tasks.vision.evaluation.probabilities import probabilities, without_temperature
from tasks.vision.evaluation.scores import Scores, cells_of
from tasks.vision.text import normalized
from tasks.vision.trained_model import HEAD_BIAS, HEAD_KERNEL, Card, Tensors


def match(
    card: Card, classes: list[str], labels: np.ndarray, *, foreign: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return positions and target indices of the images whose class the model knows.

    A class is known by its own name or by the label that stands for it: `automobile` and `car` are car.
    In the model's own data its label scheme may leave classes out on purpose.

    Raises:
        BadInput: the data are `foreign` (not the model's own), and have a class that it does not know.
    """
    index = {normalized(name): i for i, group in enumerate(card.classes) for name in group}
    for i, label in enumerate(card.labels):
        index.setdefault(normalized(label), i)
    unknown = [name for name in classes if name not in index]
    if unknown and foreign:
        raise BadInput(
            f"class {unknown[0]!r} is unknown to the model; it knows {', '.join(index)}: rename the folder"
        )
    targets = np.array([index.get(name, -1) for name in classes], np.int32)[labels]
    return np.flatnonzero(targets >= 0), targets[targets >= 0]


def score(
    card: Card, tensors: Tensors, images: Images, truth: np.ndarray
) -> tuple[Scores, np.ndarray]:
    """Return the scores of a model's answers, and its probabilities (n, labels)."""
    with loading_tensorflow():
        from tasks.vision.network.predictor import Predictor

    predictor = Predictor(card, tensors, find_device())
    # A pretrained network's pass costs much more than what the mean over copies is worth.
    if card.pretrained:
        chances, averaged = predictor(images), None
    else:
        chances, averaged = predictor.with_average(images)
    return scores_of(card, truth, chances, averaged), chances


def score_features(
    card: Card, tensors: Tensors, features: np.ndarray, truth: np.ndarray
) -> tuple[Scores, np.ndarray]:
    """Do as `score` does for a head on a pretrained network, from the images' features (n, d)."""
    chances = probabilities(features @ tensors[HEAD_KERNEL] + tensors[HEAD_BIAS])
    return scores_of(card, truth, chances.astype(np.float32)), chances.astype(np.float32)


def scores_of(
    card: Card, truth: np.ndarray, chances: np.ndarray, averaged: np.ndarray | None = None
) -> Scores:
    """Return the scores of a model's probabilities (n, labels), and of those averaged over copies."""
    from tasks.vision.evaluation.metrics import (
        calibration,
        confused_pairs,
        confusion,
        reliability,
        scores,
    )

    matrix = confusion(truth, chances, card.labels)
    metrics = scores(truth, chances, card.labels)
    if card.temperature is not None:
        metrics["uncalibrated"] = calibration(truth, without_temperature(chances, card.temperature))
    if averaged is not None:
        metrics["accuracy_tta"] = float((averaged.argmax(1) == truth).mean())
    summary = {
        "labels": card.labels,
        "cells": cells_of(matrix),
        "confused": confused_pairs(matrix, card.labels),
        "reliability": reliability(truth, chances),
        "metrics": metrics,
    }
    return Scores.model_validate(summary)
