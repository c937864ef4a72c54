"""Figures of the data and of training, drawn with matplotlib; `predictions` has those of predictions.

Every function returns a new `Figure`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from tasks.vision.figures.numbers import number, share, tick
from tasks.vision.figures.style import (
    BLUE,
    INK,
    MUTED,
    ORANGE,
    SMALL,
    class_ticks,
    legend,
    plain,
    quiet,
    sheet,
)
from tasks.vision.figures.words import WORDS

ROUND_TIMES = (0.1, 0.3, 1, 3, 10, 30, 60, 180, 600, 1800, 3600, 10800, 36000)  # seconds

# Shades of one family tell curves of one kind apart; line style and marker tell the kinds apart.
KINDS: dict[str, tuple[str, str, str]] = {  # shades, line style, marker
    "transfer": ("#1f5fa8 #0b8074 #6a45a8 #2f8fbf", "-", "o"),
    "scratch": ("#c2571a #a3294f #8c6a00 #6b3a1f", "--", "s"),
    "random": ("#59626d #8b939c #343b44 #a08f7a", ":", "D"),
}


def class_distribution(
    classes: list[str], counts: dict[str, list[int]], title: str = "", lang: str = "en"
) -> Figure:
    """Bars of images per class; `counts` maps train, validation and test to a count per class."""
    words = WORDS[lang]
    width = float(np.clip(0.5 * len(classes), 5.0, 14.0))
    figure = sheet(width, 3.1, title)
    axes = figure.add_subplot()
    quiet(axes, lang)
    bar = 0.8 / max(1, len(counts))
    for i, (split, values) in enumerate(counts.items()):
        x = np.arange(len(classes)) + (i - (len(counts) - 1) / 2) * bar
        colour = (BLUE, ORANGE, "#9fb3c8")[i % 3]
        label = f"{words.get(split, split)}  {number(sum(values), lang)}"
        axes.bar(x, values, width=bar * 0.94, color=colour, label=plain(label))
    class_ticks(axes, classes, room=(width - 0.7) / len(classes))
    axes.set_ylabel(words["images"], size=SMALL, color=MUTED)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value, lang)))
    legend(figure, 3)
    return figure


def _curves(
    history: Sequence[Mapping[str, Any]], measure: str, title: str, best_epoch: int, lang: str
) -> Figure:
    words = WORDS[lang]
    figure = sheet(5.0, 3.1, title)
    axes = figure.add_subplot()
    quiet(axes, lang)
    epochs = [entry["epoch"] for entry in history]
    # Few epochs need points to be seen at all; many would only blur the line.
    dot = 5 if len(epochs) == 1 else 3 if len(epochs) <= 40 else 0
    validation = [entry[f"validation_{measure}"] for entry in history]
    training = [entry[measure] for entry in history]
    for values, name, colour, style, mark in (
        (training, "train", ORANGE, "--", "s"),
        (validation, "validation", BLUE, "-", "o"),
    ):
        axes.plot(
            epochs,
            values,
            color=colour,
            linestyle=style,
            linewidth=1.8,
            marker=mark if dot else "",
            markersize=dot,
            label=words[name],
        )
    edge = 0.03 * (epochs[-1] - epochs[0]) or 0.45
    axes.set_xlim(epochs[0] - edge, epochs[-1] + edge)
    axes.margins(y=0.12)
    low, high = axes.get_ylim()
    if high - low < 0.04:  # a closer look would make noise look like a trend
        axes.set_ylim((low + high) / 2 - 0.02, (low + high) / 2 + 0.02)
    if best_epoch in epochs:
        late = len(epochs) > 1 and best_epoch > (epochs[0] + epochs[-1]) / 2
        axes.axvline(best_epoch, color=MUTED, linewidth=0.8, zorder=1)
        ring: dict[str, Any] = {
            "marker": "o",
            "markersize": 10,
            "fillstyle": "none",
            "markeredgewidth": 1.5,
        }
        at_best = validation[epochs.index(best_epoch)]
        axes.plot(best_epoch, at_best, color=INK, **ring)
        axes.annotate(
            words["best" if measure == "accuracy" else "best_by"].format(
                epoch=best_epoch, value=share(at_best, lang)
            ),
            xy=(best_epoch, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(-5 if late else 5, 0),
            textcoords="offset points",
            ha="right" if late else "left",
            va="bottom",
            size=SMALL,
            color=INK,
        )
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True, min_n_ticks=1))
    axes.set_xlabel(words["epoch"], size=SMALL, color=MUTED)
    axes.set_ylabel(words[measure], size=SMALL, color=MUTED)
    legend(figure, 2)
    return figure


def loss_curves(
    history: Sequence[Mapping[str, Any]], title: str, best_epoch: int, lang: str = "en"
) -> Figure:
    """Training and validation loss per epoch; `history` has one mapping for each, from 1 on."""
    return _curves(history, "loss", title, best_epoch, lang)


def accuracy_curves(
    history: Sequence[Mapping[str, Any]], title: str, best_epoch: int, lang: str = "en"
) -> Figure:
    """Training and validation accuracy (0 to 1) per epoch, with the best epoch ringed."""
    return _curves(history, "accuracy", title, best_epoch, lang)


def transfer_against_scratch(
    curves: Sequence[Mapping[str, Any]], title: str, lang: str = "en"
) -> Figure:
    """Validation accuracy over training time; `seconds` of a curve count from its start and never fall.

    The time axis is logarithmic when the first epoch and the longest run differ twentyfold; else it
    begins at 0.
    """
    words = WORDS[lang]
    figure = sheet(5.4, 3.4 + 0.2 * len(curves), title)
    axes = figure.add_subplot()
    quiet(axes, lang, "both")
    seen: dict[str, int] = {}
    for curve in curves:
        shades, style, mark = KINDS[curve["kind"]]
        nth = seen[curve["kind"]] = seen.get(curve["kind"], -1) + 1
        axes.plot(
            curve["seconds"],
            curve["accuracy"],
            color=shades.split()[nth % 4],
            # One epoch is a point, and the legend shows it as one.
            linestyle=style if len(curve["seconds"]) > 1 else "",
            marker=mark,
            markevery=[-1] if len(curve["seconds"]) > 1 else None,
            markersize=5,
            linewidth=2.2 if curve["kind"] == "transfer" else 1.5,
            label=plain(f"{curve['name']}  {share(curve['accuracy'][-1], lang)}"),
        )
    times = [second for curve in curves for second in curve["seconds"] if second > 0]
    if times and max(times) > 20 * min(times):
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_locator(
            FixedLocator([t for t in ROUND_TIMES if min(times) * 0.7 <= t <= max(times) * 1.4])
        )
    elif times:
        axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value, lang)))
    axes.set_xlabel(words["time"], size=SMALL, color=MUTED)
    axes.set_ylabel(words["validation_accuracy"], size=SMALL, color=MUTED)
    if curves:
        legend(figure, 2)
    return figure
