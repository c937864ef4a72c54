"""Which epoch's weights a model gets, by its accuracy on the validation images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def best_epoch(history: Sequence[Mapping[str, float]]) -> int:
    """Return the epoch (1-based) with the best validation accuracy, ties resolved by the lowest loss.

    On few images ties are frequent, and the first of them may be there by chance.
    """

    def quality(index: int) -> tuple[float, float]:
        return history[index]["validation_accuracy"], -history[index]["validation_loss"]

    return 1 + max(range(len(history)), key=quality)


def settled_epoch(history: Sequence[Mapping[str, float]], images: int) -> int:
    """Return the last epoch, or the best one if that is better by more than one standard error.

    On few validation images the best of several epochs is best by chance, and training that ends at a rate
    of zero is best at its end. After the one-standard-error rule (Breiman et al., Classification and
    Regression Trees, 1984, sec. 3.4.3).

    Args:
        images: number of validation images.
    """
    best = best_epoch(history)
    accuracy = history[best - 1]["validation_accuracy"]
    error = math.sqrt(accuracy * (1 - accuracy) / images)
    return best if accuracy - history[-1]["validation_accuracy"] > error else len(history)
