"""Statistical significance of the difference between two models on the same test images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
SEED = 0  # of the resampling, so that a comparison is reproducible
LEVEL = 0.05


@dataclass(frozen=True)
class Difference:
    """Difference in accuracy between two models on the same images.

    Attributes:
        images: number of images.
        accuracies: of the first and the second, 0 to 1.
        only_right: number of images on which the first alone is correct, and the second alone.
        difference: the second's accuracy minus the first's.
        interval: its 95 % interval by the paired bootstrap.
        p: of McNemar's exact test, two-sided.
    """

    images: int
    accuracies: tuple[float, float]
    only_right: tuple[int, int]
    difference: float
    interval: tuple[float, float]
    p: float

    def verdict(self, p: float) -> str:
        """Return 'better' or 'worse' if both p and the interval are significant, else 'noise'.

        The bootstrap's interval is too narrow where few predictions differ, and is not adjusted for the
        number of comparisons.

        Args:
            p: this comparison's own, or as adjusted by `holm` for several comparisons.
        """
        low, high = self.interval
        if p >= LEVEL or low <= 0 <= high:
            return "noise"
        return "better" if self.difference > 0 else "worse"


def compare(first: np.ndarray, second: np.ndarray) -> Difference:
    """Compare two models by their correct predictions on the same images.

    Args:
        first, second: (n,) bool, True for a correct prediction; n > 0.

    >>> right = np.array([True] * 60 + [False] * 40)
    >>> better = np.array([True] * 80 + [False] * 20)
    >>> found = compare(right, better)
    >>> round(found.difference, 2), found.only_right, found.verdict(found.p)
    (0.2, (0, 20), 'better')
    """
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise ValueError(
            f"predictions of shapes {first.shape} and {second.shape}; expected (n,) twice"
        )
    only = int((first & ~second).sum()), int((second & ~first).sum())
    return Difference(
        images=len(first),
        accuracies=(float(first.mean()), float(second.mean())),
        only_right=only,
        difference=(only[1] - only[0]) / len(first),
        interval=paired_bootstrap(*only, len(first)),
        p=mcnemar(*only),
    )


def paired_bootstrap(
    only_first: int, only_second: int, images: int, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Return the paired bootstrap's 95 % percentile interval of the difference in accuracy.

    Efron & Tibshirani 1993, An Introduction to the Bootstrap, sec. 13.3. An image adds -1, 0 or 1 to
    the difference, so a resample of all images is one multinomial draw of the three counts.

    >>> low, high = paired_bootstrap(50, 50, 1000)
    >>> low < 0 < high
    True
    """
    shares = np.array([only_first, only_second, images - only_first - only_second]) / images
    drawn = np.random.default_rng(SEED).multinomial(images, shares, size=resamples)
    low, high = np.quantile((drawn[:, 1] - drawn[:, 0]) / images, [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p of McNemar's test (Psychometrika 1947, 12:153).

    Under the null hypothesis an image on which one model alone is correct is as often the first's.

    >>> round(mcnemar(0, 6), 9), mcnemar(3, 3)
    (0.03125, 1.0)
    """
    from scipy.stats import binomtest  # half a second to import

    total = only_first + only_second
    return float(binomtest(only_first, total).pvalue) if total else 1.0


def holm(values: Sequence[float]) -> list[float]:
    """Adjust the p-values of several tests for the family-wise error rate.

    Holm 1979, Scandinavian Journal of Statistics 6:65; SciPy has Benjamini-Hochberg's method alone.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, highest = [0.0] * len(values), 0.0
    for rank, i in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        highest = max(highest, min(1.0, (len(values) - rank) * values[i]))
        adjusted[i] = highest
    return adjusted
