"""Detect overfitting in training curves and describe it in a sentence."""

from collections.abc import Mapping, Sequence
from math import isfinite

from tasks.vision.figures.numbers import share
from tasks.vision.figures.words import ENGLISH, Words

PATIENCE = 3  # last epochs that must all be worse, so that one bad epoch is not enough
MIN_RISE = 0.05  # of the lowest validation loss
MIN_ABSOLUTE_RISE = 0.01  # in loss: the tiny losses of a nearly perfect model double by noise


def overfitting(history: Sequence[Mapping[str, float]], words: Words = ENGLISH) -> str:
    """Describe the overfitting that a history shows; empty if it shows none.

    It shows overfitting if, after the epoch of the lowest validation loss, training accuracy rose
    further and the last three validation losses are all at least 5 % above the lowest.

    Example:
        >>> rows = [(1, 0.8, 0.40), (2, 0.9, 0.48), (3, 0.95, 0.55), (4, 0.97, 0.60)]
        >>> keys = ("epoch", "accuracy", "validation_loss", "validation_accuracy")
        >>> overfitting([dict(zip(keys, (*row, 0.8))) for row in rows])  # doctest: +ELLIPSIS
        'Overfitting from epoch 2: ... (+50...%). Validation accuracy did not fall: ...'
    """
    losses = [row["validation_loss"] for row in history]
    finite = [loss for loss in losses if isfinite(loss)]
    if not finite:
        return ""
    best = losses.index(min(finite))
    late = losses[best + 1 :][-PATIENCE:]
    limit = losses[best] + max(MIN_RISE * losses[best], MIN_ABSOLUTE_RISE)
    then, now = history[best], history[-1]
    if (
        len(late) < PATIENCE
        or not all(isfinite(loss) and loss >= limit for loss in late)
        or now["accuracy"] <= then["accuracy"]
    ):
        return ""
    rise = 100 * (losses[-1] - losses[best]) / losses[best] if losses[best] > 0 else 0.0
    diverged = words(
        "Overfitting from epoch %(after)s: training accuracy still rises (%(accuracy_then)s to "
        "%(accuracy_now)s) while validation loss increases from its minimum, %(loss_then)s at epoch "
        "%(best)s, to %(loss_now)s at epoch %(last)s (+%(percent)s %%).",
        after=int(history[best + 1]["epoch"]),
        accuracy_then=share(then["accuracy"], words.lang),
        accuracy_now=share(now["accuracy"], words.lang),
        loss_then=share(losses[best], words.lang),
        best=int(then["epoch"]),
        loss_now=share(losses[-1], words.lang),
        last=int(now["epoch"]),
        percent=f"{rise:.0f}",
    )
    values = {
        "then": share(then["validation_accuracy"], words.lang),
        "now": share(now["validation_accuracy"], words.lang),
        "best": int(then["epoch"]),
    }
    if now["validation_accuracy"] < then["validation_accuracy"]:
        effect = words(
            "Validation accuracy fell from %(then)s at epoch %(best)s to %(now)s.", **values
        )
    else:
        effect = words(
            "Validation accuracy did not fall: %(then)s at epoch %(best)s, %(now)s at the end. The "
            "model only becomes more confident in its mistakes.",
            **values,
        )
    return f"{diverged} {effect}"
