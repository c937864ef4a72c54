"""Is one model better than another, or is it noise? Two models' answers to the same test images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
SEED = 0  # of the resampling: the same runs compare alike every time
LEVEL = 0.05


@dataclass(frozen=True)
class Difference:
    """How much better the second of two models does on the same images.

    Attributes:
        images: how many both answered.
        accuracies: of the first and the second, 0 to 1.
        only: images that the first alone is right about, and the second alone.
        difference: the second's accuracy less the first's.
        interval: its 95 % interval by the paired bootstrap.
        p: McNemar's exact test, two-sided: how often models that are equally good differ so much.
    """

    images: int
    accuracies: tuple[float, float]
    only: tuple[int, int]
    difference: float
    interval: tuple[float, float]
    p: float

    def verdict(self, p: float) -> str:
        """'better' or 'worse' where the difference is more than noise, else 'noise'.

        Both must say so: where few answers differ the bootstrap alone is too sure of itself, and it
        knows nothing of how many comparisons were made.

        Args:
            p: this comparison's own, or what `holm` makes of it beside others.
        """
        low, high = self.interval
        if p >= LEVEL or low <= 0 <= high:
            return "noise"
        return "better" if self.difference > 0 else "worse"


def compare(first: np.ndarray, second: np.ndarray) -> Difference:
    """Compare two models by which of the same images each is right about.

    Args:
        first, second: (n,) bool, in the same order of images; n > 0.

    >>> right = np.array([True] * 60 + [False] * 40)
    >>> better = np.array([True] * 80 + [False] * 20)
    >>> found = compare(right, better)
    >>> round(found.difference, 2), found.only, found.verdict(found.p)
    (0.2, (0, 20), 'better')
    """
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise ValueError(f"answers of shapes {first.shape} and {second.shape}; expected (n,) twice")
    only = int((first & ~second).sum()), int((second & ~first).sum())
    return Difference(
        images=len(first),
        accuracies=(float(first.mean()), float(second.mean())),
        only=only,
        difference=(only[1] - only[0]) / len(first),
        interval=paired_bootstrap(*only, len(first)),
        p=mcnemar(*only),
    )


def paired_bootstrap(
    only_first: int, only_second: int, images: int, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """95 % percentile interval of the accuracy difference, images drawn anew with replacement.

    Efron & Tibshirani 1993, An Introduction to the Bootstrap, sec. 13.3. An image adds -1, 0 or 1 to
    the difference, so that a resample is one draw of how often each occurs: a multinomial.

    >>> low, high = paired_bootstrap(50, 50, 1000)
    >>> low < 0 < high
    True
    """
    shares = np.array([only_first, only_second, images - only_first - only_second]) / images
    drawn = np.random.default_rng(SEED).multinomial(images, shares, size=resamples)
    low, high = np.quantile((drawn[:, 1] - drawn[:, 0]) / images, [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p of McNemar's test (Psychometrika 1947, 12:153), from the binomial itself.

    Of the images that one model alone is right about, equally good models share equally.

    >>> mcnemar(0, 6), mcnemar(3, 3)
    (0.03125, 1.0)
    """
    total, term, tail = only_first + only_second, 1, 0
    for k in range(min(only_first, only_second) + 1):
        tail += term
        term = term * (total - k) // (k + 1)  # the next binomial coefficient, exactly
    return min(1.0, 2 * tail / 2**total)


def holm(values: Sequence[float]) -> list[float]:
    """p-values of several tests made at once, adjusted so that one false alarm in all stays rare.

    Holm 1979, Scandinavian Journal of Statistics 6:65.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, highest = [0.0] * len(values), 0.0
    for rank, i in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        highest = max(highest, min(1.0, (len(values) - rank) * values[i]))
        adjusted[i] = highest
    return adjusted
