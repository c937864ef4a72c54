"""Reading training curves: says in words when a model learns its training images by heart."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from tasks.vision.numerals import share

LATE = 3  # epochs at the end that must all be worse, so that one bad epoch is no verdict
WORSE = 0.05  # of the best validation loss
WORSE_AT_LEAST = 0.01  # in loss: a nearly perfect model's losses double without meaning

SENTENCE: dict[str, str] = {
    "en": (
        "Over-fitting from epoch {after} on: training accuracy still rises ({accuracy_then} to "
        "{accuracy_now}) while validation loss climbs from its best, {loss_then} at epoch {best}, "
        "to {loss_now} at epoch {last} (+{percent} %). On validation images it is then right on "
        "{right_now}, at epoch {best} it was on {right_then}."
    ),
    "es": (
        "Sobreajuste desde la época {after}: la exactitud en entrenamiento sigue subiendo (de "
        "{accuracy_then} a {accuracy_now}) mientras la pérdida en validación crece desde la menor, "
        "{loss_then} en la época {best}, hasta {loss_now} en la época {last} (+{percent} %). La "
        "exactitud en validación es entonces {right_now}; en la época {best} era {right_then}."
    ),
}


def overfitting(history: Sequence[Mapping[str, Any]], lang: str = "en") -> str:
    """A sentence that names over-fitting when the curves show it, else an empty string.

    They show it when, after the epoch of the lowest validation loss, training accuracy went on
    rising and the last epochs' validation losses all stand at least 5 % above that lowest.

    Example:
        >>> rows = [(1, 0.6, 0.50), (2, 0.8, 0.40), (3, 0.9, 0.48), (4, 0.95, 0.60)]
        >>> keys = ("epoch", "accuracy", "validation_loss", "validation_accuracy")
        >>> overfitting([dict(zip(keys, (*row, 0.8))) for row in rows])  # doctest: +ELLIPSIS
        'Over-fitting from epoch 3 on: ... (+50 %). On validation images ...'
    """
    losses = [float(entry["validation_loss"]) for entry in history]
    finite = [loss for loss in losses if isfinite(loss)]
    if not finite:
        return ""
    best = losses.index(min(finite))
    late = losses[best + 1 :][-LATE:]
    limit = losses[best] + max(WORSE * losses[best], WORSE_AT_LEAST)
    then, now = history[best], history[-1]
    if (
        len(late) < 2
        or not all(isfinite(loss) and loss >= limit for loss in late)
        or now["accuracy"] <= then["accuracy"]
    ):
        return ""
    rise = 100 * (losses[-1] - losses[best]) / losses[best] if losses[best] > 0 else 0.0
    return SENTENCE[lang].format(
        after=history[best + 1]["epoch"],
        accuracy_then=share(then["accuracy"], lang),
        accuracy_now=share(now["accuracy"], lang),
        loss_then=share(losses[best], lang),
        best=then["epoch"],
        loss_now=share(losses[-1], lang),
        last=now["epoch"],
        percent=f"{rise:.0f}",
        right_then=share(then["validation_accuracy"], lang),
        right_now=share(now["validation_accuracy"], lang),
    )
