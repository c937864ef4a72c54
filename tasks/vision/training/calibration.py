"""Calibrate a trained head: the temperature of its logits, and the score of images unlike its training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tasks.vision.data.dataset import Dataset
from tasks.vision.data.targets import Examples, Targets
from tasks.vision.pretrained.graph.feature_points import feature_width
from tasks.vision.pretrained.graph.head_tensors import HeadOnNetwork
from tasks.vision.training.temperature import fit_temperature
from tasks.vision.training.unlikeness import fit_unlikeness


def calibrate(
    model: HeadOnNetwork, data: Dataset, targets: Targets, train: np.ndarray, validation: Examples
) -> tuple[HeadOnNetwork, float]:
    """Return the model with both fitted, its logits divided by the temperature, and the temperature.

    Args:
        train: (n, d) features of the training images of `data` that `targets` selects.
        validation: (v, d) features of validation images, with their target indices.
    """
    temperature = fit_temperature(validation.inputs @ model.kernel + model.bias, validation.targets)
    last, labels = feature_width(model.network, "last layer"), data.labels("train")
    classes = labels[targets.select(data.classes, labels)[0]]
    calibrated = replace(
        model,
        kernel=model.kernel / temperature,
        bias=model.bias / temperature,
        unlikeness=fit_unlikeness(train[:, -last:], classes, validation.inputs[:, -last:]),
    )
    return calibrated, temperature
