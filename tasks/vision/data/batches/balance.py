"""Rare targets more often: which images an epoch sees, as a function of (seed, epoch).

Each target gets a share of an epoch's images in proportion to the square root of its number, or all the same
(Mahajan et al., arXiv 1805.00932, sec. 2.2). The logits are shifted in training by what that changes, so that
the probabilities are those of the data as it is (Menon et al., arXiv 2007.07314, eq. 10).
"""

from __future__ import annotations

import numpy as np

from tasks.vision.recipe.schema import Balance

POWERS: dict[Balance, float] = {"none": 1.0, "sqrt": 0.5, "even": 0.0}
BALANCE = 4  # of the random numbers of an epoch, after those of `augment` and `augment_photos`


def target_weights(targets: np.ndarray, labels: int, balance: Balance) -> np.ndarray:
    """How much more often than in the data an epoch sees images of each target: (labels,) float64.

    Args:
        targets: (n,) target indices. labels: number of targets.
    """
    if balance == "none":
        return np.ones(labels)
    counts = np.bincount(targets, minlength=labels)
    wanted = np.where(counts > 0, counts.astype(float) ** POWERS[balance], 0.0)
    return wanted / wanted.sum() * len(targets) / np.maximum(counts, 1)


def balance_shift(targets: np.ndarray, labels: int, balance: Balance) -> np.ndarray:
    """Logit shift that balancing causes: (labels,) float32, or (1,) of two targets' one output."""
    shift = np.log(np.maximum(target_weights(targets, labels, balance), 1e-6))
    return np.array([shift[0] - shift[1]] if labels == 2 else shift, np.float32)


def drawn(seed: int, epoch: int, targets: np.ndarray, balance: Balance) -> np.ndarray:
    """Positions of the images that this epoch sees, as many as there are: (n,) int64, by target.

    Every image of a target comes equally often, but for one time.
    """
    random = np.random.default_rng([seed, epoch, BALANCE])
    counts = np.bincount(targets)
    exact = target_weights(targets, len(counts), balance) * counts
    times = np.floor(exact).astype(np.int64)
    # What rounding leaves over goes to those that it took most from.
    times[np.argsort(times - exact, kind="stable")[: len(targets) - times.sum()]] += 1
    parts = []
    for target in np.flatnonzero(counts):
        rows = np.flatnonzero(targets == target)
        whole, rest = divmod(int(times[target]), len(rows))
        parts += [np.tile(rows, whole), random.permutation(rows)[:rest]]
    return np.concatenate(parts)
