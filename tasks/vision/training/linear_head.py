"""A linear head on fixed features: multinomial logistic regression with L2, its strength chosen on validation.

The problem is convex, so its solution depends on no seed, learning rate or number of epochs. It is
solved by L-BFGS (Liu and Nocedal 1989) on standardised features, from the strongest penalty to weaker ones,
each from the solution before it, for as long as the validation loss falls. Weights and sums are float64,
features float32: most of the time goes into reading them. Parts of fixed size share the cores, each product in
one thread, so that the bits don't depend on the number of cores.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from tasks.vision.data.batches.targets import Examples
from tasks.vision.errors import BadInput
from tasks.vision.evaluation.probabilities import TINY, log_loss, probabilities
from tasks.vision.trained_model import Penalty

STRENGTHS = tuple(
    float(f"{10 ** (-k / 2):.3g}") for k in range(1, 13)
)  # of the penalty: .316 to 1e-6
WORSE = 2  # strengths in a row without a lower validation loss; weaker ones are not tried then
# Of the gradient's largest entry (about .1 at the start), and of the loss: a tenth of them changes neither
# the choice nor the accuracy, and takes twice the time.
GRADIENT_TOLERANCE, LOSS_TOLERANCE = 3e-4, 1e-6
MAX_STEPS = 300  # for one strength
PART = 512  # images at a time: their features stay in the processor's cache from logits to gradient
# Standard deviation, relative to the mean, of a feature that carries no information.
CONSTANT = 1e-6


@dataclass(frozen=True)
class LinearHead:
    """A fitted head for features that are not standardised.

    Attributes:
        kernel: (features, outputs) float32. bias: (outputs,) float32.
        path: what was tried, the strongest penalty first. chosen: index of the best step.
    """

    kernel: np.ndarray
    bias: np.ndarray
    path: tuple[Penalty, ...]
    chosen: int


def fit_head(
    train: Examples,
    validation: Examples,
    outputs: int,
    prior_shift: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    threads: int = 1,
) -> LinearHead:
    """Fit a head to features, and choose the strength of its penalty by validation loss.

    Args:
        train, validation: features (n, d), with target indices.
        outputs: 1 for two targets, of which the output is the first one's logit; else one per target.
        prior_shift: (outputs,) added to the logits in training alone (`Targets.prior_shift`).
        weights: (targets,) how much an image of each counts in training; 1 by default.
        threads: that share the work; the bits don't depend on their number.

    Raises:
        BadInput: a feature is NaN or infinite.
    """
    for examples in (train, validation):
        if not np.isfinite(examples.inputs).all():
            raise BadInput(
                "the network's features are not finite for some images; give another network, or check "
                "its weights"
            )
    import scipy.optimize  # noqa: F401  # before the limit, which holds for the libraries that are there
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads) as pool:
        return _fit(train, validation, outputs, prior_shift, weights, pool)


def _fit(
    train: Examples,
    validation: Examples,
    outputs: int,
    prior_shift: np.ndarray | None,
    target_weights: np.ndarray | None,
    threads: ThreadPoolExecutor,
) -> LinearHead:
    features = np.asarray(train.inputs)
    mean, scale = _standardisation(features)
    data = _standardised(features, mean, scale)
    held_out = _standardised(np.asarray(validation.inputs), mean, scale)
    shift = np.zeros(outputs) if prior_shift is None else prior_shift.astype(np.float64)
    counted = None if target_weights is None else target_weights[train.targets]
    wanted = np.eye(max(2, outputs))[train.targets]
    objective = _Objective(data, wanted, shift, counted, threads)
    weights = np.zeros((data.shape[1] + 1, outputs))
    path: list[Penalty] = []
    best, chosen = weights, 0
    for strength in STRENGTHS:
        weights = objective.minimum(weights, strength)
        loss, accuracy = _scores(_logits(data, weights) + shift, train.targets)
        unseen_loss, unseen_accuracy = _scores(_logits(held_out, weights), validation.targets)
        step = Penalty(
            strength=strength,
            loss=loss,
            accuracy=accuracy,
            validation_loss=unseen_loss,
            validation_accuracy=unseen_accuracy,
        )
        path.append(step)
        # Ties go to the stronger penalty, which comes first.
        if step.validation_loss < path[chosen].validation_loss or len(path) == 1:
            best, chosen = weights, len(path) - 1
        if len(path) - 1 - chosen >= WORSE:
            break
    kernel = best[:-1] / scale[:, None]
    bias = best[-1] - mean @ kernel
    return LinearHead(kernel.astype(np.float32), bias.astype(np.float32), tuple(path), chosen)


class _Objective:
    """Mean cross-entropy of a linear head plus its penalty, and the gradient."""

    def __init__(
        self,
        data: np.ndarray,
        wanted: np.ndarray,
        shift: np.ndarray,
        counted: np.ndarray | None,
        threads: ThreadPoolExecutor,
    ) -> None:
        self._data, self._wanted, self._shift, self._threads = data, wanted, shift, threads
        self._counted = np.ones(len(data)) if counted is None else counted

    def minimum(self, start: np.ndarray, strength: float) -> np.ndarray:
        """Return the weights (d + 1, outputs), the bias last, that minimise it for a strength."""
        from scipy.optimize import minimize  # slow to import, and only needed here

        def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
            loss, gradient = self._evaluate(flat.reshape(start.shape), strength)
            return loss, gradient.ravel()

        options = {"maxiter": MAX_STEPS, "gtol": GRADIENT_TOLERANCE, "ftol": LOSS_TOLERANCE}
        found = minimize(value, start.ravel(), jac=True, method="L-BFGS-B", options=options)
        return np.asarray(found.x).reshape(start.shape)

    def _evaluate(self, weights: np.ndarray, strength: float) -> tuple[float, np.ndarray]:
        n, kernel = len(self._data), weights[:-1]
        loss, gradient = 0.0, np.zeros_like(weights)
        # In the order of the images, whichever thread is first.
        for part_loss, part in self._threads.map(partial(self._part, weights), range(0, n, PART)):
            loss += part_loss
            gradient += part
        gradient /= n
        gradient[:-1] += strength * kernel
        return loss / n + strength / 2 * float((kernel**2).sum()), gradient

    def _part(self, weights: np.ndarray, begin: int) -> tuple[float, np.ndarray]:
        """Return loss and gradient of the images from `begin` on, both summed."""
        data, wanted, counted = (
            each[begin : begin + PART] for each in (self._data, self._wanted, self._counted)
        )
        odds = probabilities(_logits(data, weights) + self._shift)
        loss = -(counted * np.log(np.maximum((odds * wanted).sum(1), TINY))).sum()
        error = (counted[:, None] * (odds - wanted))[:, : weights.shape[1]]
        return float(loss), np.vstack([data.T @ error.astype(np.float32), error.sum(0)])


def _logits(data: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return data @ weights[:-1].astype(np.float32) + weights[-1]


def _scores(logits: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """Return mean cross-entropy and accuracy."""
    return log_loss(logits, targets), float((probabilities(logits).argmax(1) == targets).mean())


def _standardisation(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and scale of each feature in float64, without a float64 copy of them all."""
    total, parts = np.zeros(features.shape[1]), range(0, len(features), PART)
    for begin in parts:
        total += features[begin : begin + PART].sum(0, dtype=np.float64)
    mean, square = total / len(features), np.zeros_like(total)
    for begin in parts:
        square += ((features[begin : begin + PART] - mean) ** 2).sum(0)
    deviation = np.sqrt(square / len(features))
    # A constant feature becomes zero, not a division by zero.
    return mean, np.where(deviation > CONSTANT * np.maximum(np.abs(mean), 1e-6), deviation, 1.0)


def _standardised(features: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    data = features - mean.astype(np.float32)
    data /= scale.astype(np.float32)
    return data
