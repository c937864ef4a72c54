"""Significance of the difference between two settings that were trained several times, on validation images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.vision.evaluation.metrics import wilson
from tasks.vision.evaluation.significance import LEVEL, compare


@dataclass(frozen=True, eq=False)
class Trained:
    """One training of a setting.

    Attributes:
        seed, fold: by which trainings of two settings are paired; those of one fold have the same images.
        correct: (n,) bool, whether it is right about each validation image of the fold.
    """

    seed: int
    fold: int
    correct: np.ndarray


@dataclass(frozen=True)
class RepeatedDifference:
    """Difference in accuracy between two settings: the second's minus the first's.

    Attributes:
        interval: its 95 % interval. p: two-sided, of the hypothesis that both are equally good.
    """

    difference: float
    interval: tuple[float, float]
    p: float

    def is_noise(self, p: float) -> bool:
        """True unless both p, as adjusted for several comparisons, and the interval are significant."""
        low, high = self.interval
        return p >= LEVEL or low <= 0 <= high


def compare_repeated(first: Sequence[Trained], second: Sequence[Trained]) -> RepeatedDifference:
    """Compare two settings by trainings with the same seeds and folds.

    One training each is compared as two models are; of several, `_estimate` has the statistics.

    Raises:
        ValueError: they were not trained with the same seeds on the same folds.
    """
    pairs = list(zip(first, second, strict=True))
    if not pairs or any((a.seed, a.fold) != (b.seed, b.fold) for a, b in pairs):
        raise ValueError("expected trainings with the same seeds and folds")
    if len(pairs) == 1:
        found = compare(first[0].correct, second[0].correct)
        return RepeatedDifference(found.difference, found.interval, found.p)
    difference, error, freedom = _estimate(
        [(a.fold, b.correct.astype(float) - a.correct) for a, b in pairs]
    )
    if not error:  # they differ nowhere, or everywhere
        return RepeatedDifference(difference, (difference, difference), float(difference == 0))
    from scipy.stats import t  # half a second to import

    half = float(t.ppf(1 - LEVEL / 2, freedom)) * error
    p = float(2 * t.sf(abs(difference) / error, freedom))
    return RepeatedDifference(difference, (difference - half, difference + half), p)


def mean_interval(trained: Sequence[Trained]) -> tuple[float, float, float]:
    """Return the mean accuracy of a setting's trainings, and the ends of its 95 % interval.

    Of a single training over its images (Wilson 1927), which says nothing of other seeds.

    >>> once = [Trained(0, 0, np.array([True] * 90 + [False] * 10))]
    >>> [round(each, 3) for each in mean_interval(once)]
    [0.9, 0.826, 0.945]
    """
    if len(trained) == 1:
        correct = trained[0].correct
        return float(correct.mean()), *wilson(int(correct.sum()), len(correct))
    mean, error, freedom = _estimate([(each.fold, each.correct.astype(float)) for each in trained])
    if not error:
        return mean, mean, mean
    from scipy.stats import t

    half = float(t.ppf(1 - LEVEL / 2, freedom)) * error
    return mean, max(0.0, mean - half), min(1.0, mean + half)


def _estimate(trainings: Sequence[tuple[int, np.ndarray]]) -> tuple[float, float, float]:
    """Return a mean over several trainings, its standard error and its degrees of freedom.

    Two things vary by chance: the trainings, and which images are in validation. Their variances are added, as
    for clusters of two kinds (Cameron, Gelbach & Miller 2011, Journal of Business & Economic Statistics 29:238,
    without the part that they share, which is conservative); degrees of freedom after Satterthwaite 1946,
    Biometrics Bulletin 2:110. Each training counts as independent, also those of one seed on several folds.

    Args:
        trainings: of each its fold, and a value for each image of that, (n,) float.
    """
    of_runs = np.array([values.mean() for _, values in trainings])
    of_images = np.concatenate(
        [
            np.mean([values for other, values in trainings if other == fold], axis=0)
            for fold in sorted({fold for fold, _ in trainings})
        ]
    )
    parts = [(each.var(ddof=1) / len(each), len(each) - 1) for each in (of_runs, of_images)]
    variance = sum(part for part, _ in parts)
    shares = sum(part**2 / freedom for part, freedom in parts)
    return (
        float(of_runs.mean()),
        float(np.sqrt(variance)),
        float(variance**2 / shares) if shares else 1.0,
    )
