"""Reading training curves: says in words when a model learns its training images by heart."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from tasks.vision.figures.numbers import share

LATE = 3  # epochs at the end that must all be worse, so that one bad epoch is no verdict
WORSE = 0.05  # of the best validation loss
WORSE_AT_LEAST = 0.01  # in loss: a nearly perfect model's losses double without meaning

SENTENCE: dict[str, str] = {
    "en": (
        "Over-fitting from epoch {after} on: training accuracy still rises ({accuracy_then} to "
        "{accuracy_now}) while validation loss climbs from its best, {loss_then} at epoch {best}, "
        "to {loss_now} at epoch {last} (+{percent} %). "
    ),
    "es": (
        "Sobreajuste desde la época {after}: la exactitud en entrenamiento sigue subiendo (de "
        "{accuracy_then} a {accuracy_now}) mientras la pérdida en validación crece desde la menor, "
        "{loss_then} en la época {best}, hasta {loss_now} en la época {last} (+{percent} %). "
    ),
}
LESS: dict[str, str] = {
    "en": "On validation images it is then right on {right_now}, at epoch {best} it was on {right_then}.",
    "es": "La exactitud en validación es entonces {right_now}; en la época {best} era {right_then}.",
}
NO_LESS: dict[str, str] = {
    "en": (
        "It is ever surer of its mistakes, though right on no fewer validation images: {right_now}, "
        "at epoch {best} {right_then}."
    ),
    "es": (
        "Está cada vez más seguro de sus errores, aunque no acierta menos en validación: "
        "{right_now}; en la época {best}, {right_then}."
    ),
}


def overfitting(history: Sequence[Mapping[str, Any]], lang: str = "en") -> str:
    """A sentence that names over-fitting when the curves show it, else an empty string.

    They show it when, after the epoch of the lowest validation loss, training accuracy went on
    rising and the last epochs' validation losses all stand at least 5 % above that lowest.

    Example:
        >>> rows = [(1, 0.8, 0.40), (2, 0.9, 0.48), (3, 0.95, 0.55), (4, 0.97, 0.60)]
        >>> keys = ("epoch", "accuracy", "validation_loss", "validation_accuracy")
        >>> overfitting([dict(zip(keys, (*row, 0.8))) for row in rows])  # doctest: +ELLIPSIS
        'Over-fitting from epoch 2 on: ... (+50 %). It is ever surer of its mistakes...'
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
        len(late) < LATE
        or not all(isfinite(loss) and loss >= limit for loss in late)
        or now["accuracy"] <= then["accuracy"]
    ):
        return ""
    rise = 100 * (losses[-1] - losses[best]) / losses[best] if losses[best] > 0 else 0.0
    right_then, right_now = then["validation_accuracy"], now["validation_accuracy"]
    ending = (LESS if right_now < right_then else NO_LESS)[lang]
    return (SENTENCE[lang] + ending).format(
        after=int(history[best + 1]["epoch"]),
        accuracy_then=share(then["accuracy"], lang),
        accuracy_now=share(now["accuracy"], lang),
        loss_then=share(losses[best], lang),
        best=int(then["epoch"]),
        loss_now=share(losses[-1], lang),
        last=int(now["epoch"]),
        percent=f"{rise:.0f}",
        right_then=share(right_then, lang),
        right_now=share(right_now, lang),
    )
