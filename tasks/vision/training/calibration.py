"""Calibrate a trained head: the temperature of its logits, and the score of images unlike its training.

Temperature scaling is one factor on the logits, so that probabilities match the accuracy (Guo et al., arXiv
1706.04599, sec. 4.2). scikit-learn's calibration takes and returns classifiers, and minimises without a prior,
so that a few images, all of them right, would make a model certain.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tasks.vision.data.batches.targets import Examples, Targets
from tasks.vision.data.dataset import Dataset
from tasks.vision.data.images import Images
from tasks.vision.evaluation.probabilities import log_loss
from tasks.vision.pretrained.graph.feature_points import feature_width
from tasks.vision.pretrained.graph.head_tensors import HeadOnNetwork
from tasks.vision.training.fit_ood_score import fit_ood_score

# On held-out photos of flowers, a temperature from 10 or 20 images raised the mean loss, from 50 lowered it.
LEAST = 50
PRIOR = 0.3  # standard deviation of log T before the images are seen; bounds T where all of them are right
MOST = 10.0  # and a tenth at least


def calibrate(
    model: HeadOnNetwork, data: Dataset, targets: Targets, train: Images, validation: Examples
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
        ood_score=fit_ood_score(train[:, -last:], classes, validation.inputs[:, -last:]),
    )
    return calibrated, temperature


def fit_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    """Return the temperature T by which to divide logits: the most probable one, given validation images.

    It is 1 if there are too few of them.

    Args:
        logits: (n, outputs). targets: (n,) indices.
    """
    if len(targets) < LEAST:
        return 1.0
    from scipy.optimize import minimize_scalar  # slow to import

    logits = logits.astype(np.float64)

    def cost(log_t: float) -> float:
        loss = log_loss(logits / math.exp(log_t), targets)
        return len(targets) * loss + (log_t / PRIOR) ** 2 / 2

    limits = (-math.log(MOST), math.log(MOST))
    return math.exp(minimize_scalar(cost, bounds=limits, method="bounded").x)
