"""The report's figures, drawn from what the tasks left in the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.progress import Event, emit
from tasks.vision.data.augment import evenly_spaced
from tasks.vision.data.dataset import Dataset
from tasks.vision.figures.words import WORDS, epochs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 20  # pictures in a grid


def _drawn(name: str, draw: Callable[[], Figure]) -> Iterator[tuple[str, bytes]]:
    """A figure under its name, as PNG; one that can't be drawn is named, and the report does without."""
    from tasks.vision.figures.style import png

    try:
        content = png(draw())
    except Exception as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        emit(Event("write report", f"the figure {name} can't be drawn and is left out ({why})"))
        return
    yield name, content


def _say_undrawn(names: list[str]) -> None:
    from tasks.vision.figures.style import undrawn

    if lacking := undrawn("".join(names)):
        some = lacking if len(lacking) <= 20 else f"{lacking[:20]}…"
        line = f"figures show boxes for {some}, which no font here has; install e.g. fonts-noto-cjk or -core"
        emit(Event("write report", line))


def _distribution(data: Dataset, lang: str) -> Iterator[tuple[str, bytes]]:
    from tasks.vision.figures.curves import class_distribution

    counts, title = data.description.counts, WORDS[lang]["title_counts"]
    return _drawn(
        "class_distribution", lambda: class_distribution(data.classes, counts, title, lang)
    )


def _stage_figures(
    name: str, numbers: dict[str, Any], arrays: dict[str, np.ndarray], data: Dataset, lang: str
) -> Iterator[tuple[str, bytes]]:
    from tasks.vision.figures.curves import accuracy_curves, loss_curves
    from tasks.vision.figures.predictions import (
        confusion_matrix,
        prediction_grid,
        reliability_diagram,
    )

    def title(kind: str, **values: str) -> str:
        return WORDS[lang][f"title_{kind}"].format(name=name, **values)

    images = data.part("test").images[arrays["positions"]]
    truth, probabilities, labels = arrays["truth"], arrays["probabilities"], numbers["labels"]
    history, best = numbers["history"], numbers["best_epoch"]

    def grid(kind: str, chosen: np.ndarray, title: str) -> Iterator[tuple[str, bytes]]:
        asked = (images[chosen], truth[chosen].tolist(), probabilities[chosen], labels, title, lang)
        return _drawn(f"{name}/{kind}", lambda: prediction_grid(*asked))

    yield from _drawn(f"{name}/loss", lambda: loss_curves(history, title("loss"), best, lang))
    yield from _drawn(
        f"{name}/accuracy", lambda: accuracy_curves(history, title("accuracy"), best, lang)
    )
    if numbers["positive"]:
        for target, label in enumerate(labels):
            chosen = _spread(np.flatnonzero(truth == target))
            yield from grid(f"predictions_{label}", chosen, title("label", label=label))
    else:
        # The same share of every label, so that a rare one is seen too; of many labels, some.
        some = _spread(np.unique(truth))
        per_label = [_spread(np.flatnonzero(truth == t), SHOWN // len(some)) for t in some]
        chosen = np.sort(np.concatenate(per_label))
        yield from grid("predictions_all", chosen, title("images"))
    guess = probabilities.argmax(1)
    wrong = np.flatnonzero(guess != truth)
    if len(wrong):
        sure = wrong[np.argsort(-probabilities[wrong, guess[wrong]], kind="stable")]
        yield from grid("mistakes", sure[:SHOWN], title("mistakes"))
    confusion, bins, ece = numbers["confusion"], numbers["reliability"], numbers["metrics"]["ece"]
    yield from _drawn(
        f"{name}/confusion", lambda: confusion_matrix(confusion, labels, title("confusion"), lang)
    )
    yield from _drawn(
        f"{name}/reliability",
        lambda: reliability_diagram(bins, ece, title("reliability"), lang),
    )


def _spread(positions: np.ndarray, most: int = SHOWN) -> np.ndarray:
    """At most so many, evenly spread over all of them, so that no choice flatters the model."""
    return positions[evenly_spaced(len(positions), most)]


def _comparison(
    name: str, numbers: dict[str, Any], stages: dict[str, dict[str, Any]], lang: str
) -> Iterator[tuple[str, bytes]]:
    """Validation accuracy over time of a stage that starts from another, and of what it is measured against."""
    from tasks.vision.figures.curves import transfer_against_scratch

    if not numbers["start"]:
        return
    words = WORDS[lang]
    rivals = [("transfer", words["starts_from"].format(name=name, start=numbers["start"]), numbers)]
    rivals += [
        (kind, words[kind].format(epochs=epochs(control["epochs"], lang)), control)
        for kind, control in numbers["controls"].items()
    ]
    rivals += [
        (
            "scratch",
            words["other_stage"].format(name=other, epochs=epochs(rival["epochs"], lang)),
            rival,
        )
        for other, rival in stages.items()
        if not rival["start"] and rival["labels"] == numbers["labels"]
    ]
    curves = [
        {
            "name": title,
            "kind": kind,
            "seconds": [row["seconds"] for row in rival["history"]],
            "accuracy": [row["validation_accuracy"] for row in rival["history"]],
        }
        for kind, title, rival in rivals
    ]
    title = words["title_against"].format(name=name)
    yield from _drawn(
        f"{name}/transfer_against_scratch", lambda: transfer_against_scratch(curves, title, lang)
    )
