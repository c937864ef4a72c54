"""Two models on the same test images: by accuracy or balanced accuracy, and label by label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from tasks.vision.evaluation.significance import LEVEL, RESAMPLES, SEED, compare
from tasks.vision.recipe.schema import Strict

Metric = Literal["accuracy", "balanced_accuracy"]


class PairedScores(Strict):
    """Scores of a first and a second model on the same images.

    Attributes:
        images: number of images. data: what they are. left_out: how many others a model was trained on.
        unknown: why it is not known of all whether a model was trained on them; "" if it is.
        scores: of both by `metric`, 0 to 1. difference: the second's minus the first's.
        interval: its 95 % interval by the paired bootstrap. p: two-sided, that they are equally good.
        recall: of both, for each label that the images have.
    """

    metric: Metric
    images: int
    data: str = ""
    left_out: int = 0
    unknown: str = ""
    scores: tuple[float, float]
    difference: float
    interval: tuple[float, float]
    p: float
    recall: dict[str, tuple[float, float]]

    def __str__(self) -> str:
        low, high = self.interval
        name, (first, second) = self.metric.replace("_", " "), self.scores
        return (
            f"{name} {second:.4f} on {self.images:,} images, {first:.4f} before: {self.difference:+.4f} "
            f"(95 %: {low:+.4f} to {high:+.4f}, p = {self.p:.2g})"
        )


def paired_scores(
    truth: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    labels: Sequence[str],
    metric: Metric = "accuracy",
) -> PairedScores:
    """Compare the answers of two models.

    Args:
        truth, first, second: (n,) indices of true and of predicted labels; n > 0.

    >>> truth = np.repeat([0, 1], 50)
    >>> better, worse = truth.copy(), np.where(np.arange(100) < 10, 1, truth)
    >>> found = paired_scores(truth, worse, better, ["cat", "dog"])
    >>> round(found.difference, 2), found.recall["cat"]
    (0.1, (0.8, 1.0))
    """
    right = first == truth, second == truth
    present = np.unique(truth)
    recall = np.array([[each[truth == label].mean() for each in right] for label in present])
    about = compare(*right)
    scores, difference, interval, p = about.accuracies, about.difference, about.interval, about.p
    if metric == "balanced_accuracy":
        scores = (float(recall[:, 0].mean()), float(recall[:, 1].mean()))
        difference = scores[1] - scores[0]
        interval, p = _balanced_test(truth, *right, difference)
    return PairedScores(
        metric=metric,
        images=len(truth),
        scores=scores,
        difference=difference,
        interval=interval,
        p=p,
        recall={
            labels[label]: (float(a), float(b))
            for label, (a, b) in zip(present, recall, strict=True)
        },
    )


def _balanced_test(
    truth: np.ndarray, first: np.ndarray, second: np.ndarray, difference: float
) -> tuple[tuple[float, float], float]:
    """Return the 95 % interval of a difference in balanced accuracy, and its p.

    As for accuracy, within each label: the paired bootstrap (Efron & Tibshirani 1993, sec. 13.3), and
    McNemar's null hypothesis, that an image on which one model alone is correct is as often the first's,
    by random signs (Good 2005, Permutation, Parametric, and Bootstrap Tests, sec. 3.3).
    """
    random = np.random.default_rng(SEED)
    drawn, under_null = np.zeros(RESAMPLES), np.zeros(RESAMPLES)
    present = np.unique(truth)
    for label in present:
        mine = truth == label
        n, only_first = int(mine.sum()), int((mine & first & ~second).sum())
        only_second = int((mine & second & ~first).sum())
        shares = np.array([only_first, only_second, n - only_first - only_second]) / n
        counts = random.multinomial(n, shares, size=RESAMPLES)
        drawn += (counts[:, 1] - counts[:, 0]) / n
        either = only_first + only_second
        under_null += (2 * random.binomial(either, 0.5, size=RESAMPLES) - either) / n
    low, high = np.quantile(drawn / len(present), [LEVEL / 2, 1 - LEVEL / 2])
    as_far = np.abs(under_null / len(present)) >= abs(difference) - 1e-12
    return (float(low), float(high)), float((1 + as_far.sum()) / (1 + RESAMPLES))
