"""Figures of the data and of training: class counts, learning curves, penalties, transfer against baselines.

Each function returns a new matplotlib `Figure`; `predictions` has the figures of predictions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from tasks.vision.figures.numbers import number, share, significant, time_tick
from tasks.vision.figures.style import (
    BLUE,
    INK,
    MUTED,
    ORANGE,
    SMALL,
    add_legend,
    escape_dollars,
    mark_best,
    name_axes,
    new_axes,
    set_class_ticks,
)
from tasks.vision.figures.words import ENGLISH, Words
from tasks.vision.trained_model import Penalty

ROUND_TIMES = (0.1, 0.3, 1, 3, 10, 30, 60, 180, 600, 1800, 3600, 10800, 36000)  # seconds

Kind = Literal["transfer", "scratch", "random"]
# Shades distinguish curves of one kind; line style and marker distinguish kinds without colour.
STYLES: dict[Kind, tuple[str, str, str]] = {  # shades, line style, marker
    "transfer": ("#1f5fa8 #0b8074 #6a45a8 #2f8fbf", "-", "o"),
    "scratch": ("#c2571a #a3294f #8c6a00 #6b3a1f", "--", "s"),
    "random": ("#59626d #8b939c #343b44 #a08f7a", ":", "D"),
}


@dataclass(frozen=True)
class Curve:
    """Validation accuracy (0 to 1) of one training over its training time, one point per epoch.

    Attributes:
        seconds: since the start of the training, never decreasing.
    """

    label: str
    kind: Kind
    seconds: Sequence[float]
    accuracy: Sequence[float]


def class_distribution(
    classes: list[str], counts: dict[str, list[int]], words: Words = ENGLISH
) -> Figure:
    """Bars of images per class; `counts` maps train, validation and test to a count per class."""
    width = float(np.clip(0.5 * len(classes), 5.0, 14.0))
    figure, axes = new_axes(width, 3.1, words("Images per class"), words.lang)
    bar = 0.8 / max(1, len(counts))
    splits = {"train": words("train"), "validation": words("validation"), "test": words("test")}
    for i, (split, values) in enumerate(counts.items()):
        x = np.arange(len(classes)) + (i - (len(counts) - 1) / 2) * bar
        colour = (BLUE, ORANGE, "#9fb3c8")[i % 3]
        label = f"{splits[split]}  {number(sum(values), words.lang)}"
        axes.bar(x, values, width=bar * 0.94, color=colour, label=label)
    set_class_ticks(axes, classes, room=(width - 0.7) / len(classes))
    axes.set_ylabel(words("images"), size=SMALL, color=MUTED)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value, words.lang)))
    add_legend(figure, 3)
    return figure


def loss_curves(
    history: Sequence[Mapping[str, float]], title: str, best_epoch: int, words: Words = ENGLISH
) -> Figure:
    """Training and validation loss per epoch, from epoch 1; the best epoch is marked."""
    mark = words("epoch %(epoch)s, best accuracy", epoch=best_epoch)
    return _curves(history, "loss", title, words("loss"), best_epoch, mark, words)


def accuracy_curves(
    history: Sequence[Mapping[str, float]], title: str, best_epoch: int, words: Words = ENGLISH
) -> Figure:
    """Training and validation accuracy (0 to 1) per epoch, from epoch 1; the best epoch is marked."""
    best = {int(row["epoch"]): row["validation_accuracy"] for row in history}.get(best_epoch)
    value = share(best, words.lang)
    mark = words("best epoch %(epoch)s: %(value)s", epoch=best_epoch, value=value)
    return _curves(history, "accuracy", title, words("accuracy"), best_epoch, mark, words)


def _curves(
    history: Sequence[Mapping[str, float]],
    measure: str,
    title: str,
    axis: str,
    best_epoch: int,
    mark: str,
    words: Words,
) -> Figure:
    figure, axes = new_axes(5.0, 3.1, title, words.lang)
    epochs = [row["epoch"] for row in history]
    # Few epochs need markers to be visible; on many they would blur the line.
    dot = 5 if len(epochs) == 1 else 3 if len(epochs) <= 40 else 0
    validation = [row[f"validation_{measure}"] for row in history]
    training = [row[measure] for row in history]
    draw_splits(axes, epochs, training, validation, words, linewidth=1.8, markersize=dot)
    edge = 0.03 * (epochs[-1] - epochs[0]) or 0.45
    axes.set_xlim(epochs[0] - edge, epochs[-1] + edge)
    axes.margins(y=0.12)
    low, high = axes.get_ylim()
    if high - low < 0.04:  # a narrower range would make noise look like a trend
        axes.set_ylim((low + high) / 2 - 0.02, (low + high) / 2 + 0.02)
    if best_epoch in epochs:
        late = len(epochs) > 1 and best_epoch > (epochs[0] + epochs[-1]) / 2
        mark_best(axes, best_epoch, validation[epochs.index(best_epoch)])
        axes.annotate(
            mark,
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
    name_axes(axes, words("epoch"), axis)
    add_legend(figure, 2)
    return figure


def draw_splits(
    axes: Axes,
    x: Sequence[float],
    training: Sequence[float],
    validation: Sequence[float],
    words: Words,
    **look: Any,
) -> None:
    """Draw a curve of the training images and one of the validation images; `look` is of both."""
    axes.plot(x, training, "s--", color=ORANGE, label=words("train"), **look)
    axes.plot(x, validation, "o-", color=BLUE, label=words("validation"), **look)


def penalty_curves(
    tried: Sequence[Penalty], chosen: float, title: str, words: Words = ENGLISH
) -> Figure:
    """Training and validation loss over the strength of the penalty, the strongest at the left."""
    figure, axes = new_axes(5.0, 3.1, title, words.lang)
    strengths = [each.strength for each in tried]
    training, validation = zip(*((each.loss, each.validation_loss) for each in tried), strict=True)
    draw_splits(axes, strengths, training, validation, words, markersize=4)
    mark_best(axes, chosen, validation[strengths.index(chosen)])
    axes.set_xscale("log")
    axes.invert_xaxis()
    axes.set_xticks(strengths)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: significant(value, words.lang)))
    axes.margins(y=0.12)
    name_axes(axes, words("strength of the L2 penalty, weaker to the right"), words("loss"))
    add_legend(figure, 2)
    return figure


def transfer_against_scratch(curves: Sequence[Curve], title: str, words: Words = ENGLISH) -> Figure:
    """Validation accuracy over training time, with each curve's last accuracy in the legend.

    The time axis is logarithmic if the first epoch and the longest training differ more than
    twentyfold; else it begins at 0.
    """
    figure, axes = new_axes(5.4, 3.4 + 0.2 * len(curves), title, words.lang, "both")
    drawn: list[str] = []
    for curve in curves:
        shades, style, marker = STYLES[curve.kind]
        line = len(curve.seconds) > 1  # one epoch is a point, and the legend shows it as one
        axes.plot(
            curve.seconds,
            curve.accuracy,
            color=shades.split()[drawn.count(curve.kind) % 4],
            linestyle=style if line else "",
            marker=marker,
            markevery=[-1] if line else None,
            markersize=5,
            linewidth=2.2 if curve.kind == "transfer" else 1.5,
            label=escape_dollars(f"{curve.label}  {share(curve.accuracy[-1], words.lang)}"),
        )
        drawn.append(curve.kind)
    times = [second for curve in curves for second in curve.seconds if second > 0]
    if times and max(times) > 20 * min(times):
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_locator(
            FixedLocator([t for t in ROUND_TIMES if min(times) * 0.7 <= t <= max(times) * 1.4])
        )
    elif times:
        axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: time_tick(value, words.lang)))
    name_axes(axes, words("training time"), words("validation accuracy"))
    if curves:
        add_legend(figure, 2)
    return figure
