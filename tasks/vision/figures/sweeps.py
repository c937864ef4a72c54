"""Figures of a sweep: each setting against validation accuracy, and learning curves.

Each function returns a new matplotlib `Figure`. The best settings are blue and drawn last.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullLocator,
)

from tasks.vision.figures.numbers import DECIMAL_MARKS, share
from tasks.vision.figures.style import (
    BLUE,
    INK,
    MUTED,
    ORANGE,
    SMALL,
    add_legend,
    escape_dollars,
    name_axes,
    new_axes,
    tick_label,
)
from tasks.vision.figures.words import ENGLISH, Words

OTHERS = ("#c2571a", "#0b8074", "#6a45a8", "#8c6a00", "#a3294f")  # the next best, by place
FAINT = "#aab4bf"
WIDE = 20  # a largest value of so many times the smallest has a logarithmic axis
NARROWEST = 0.02  # of an accuracy axis; a narrower one would make noise look like a trend


@dataclass(frozen=True)
class TriedSettings:
    """A combination of settings, the best one first in a list of them.

    Attributes:
        values: of each setting, as a person reads them. mean: validation accuracy, 0 to 1.
        accuracies: of its runs. curves: of each run, the accuracy after each epoch.
    """

    values: tuple[str, ...]
    mean: float
    accuracies: tuple[float, ...]
    curves: tuple[tuple[float, ...], ...]

    def label(self, names: Sequence[str]) -> str:
        """Return its settings as one text."""
        return ", ".join(f"{n} = {v}" for n, v in zip(names, self.values, strict=True))


@dataclass(frozen=True)
class Span:
    """The ends of a range that values were picked from, and whether they were picked by magnitude."""

    low: float
    high: float
    log: bool

    def place(self, value: str) -> float:
        """Return where a value is between the ends, 0 to 1."""
        low, high, at = self.low, self.high, float(value)
        if self.log:
            low, high, at = np.log(low), np.log(high), np.log(at)
        return float((at - low) / (high - low))


def effect_of_setting(
    name: str,
    values: Sequence[str],
    tried: Sequence[TriedSettings],
    at: int,
    words: Words = ENGLISH,
    span: Span | None = None,
) -> Figure:
    """Validation accuracy of every run by the value of one setting, with the mean of each value.

    Args:
        values: of the setting, in the order given. at: its place among the settings.
        span: that the values were picked from, if they were; few are the same then, so there are no means.
    """
    figure, axes = new_axes(5.0, 3.3, name, words.lang)
    x = _positions(axes, values, words, span)
    means = []
    for value in values:
        group = [each for each in tried if each.values[at] == value]
        found = [accuracy for each in group for accuracy in each.accuracies]
        means.append(float(np.mean(found)) if found else np.nan)
        places = _spread(axes, x[value], len(found))
        axes.plot(places, found, "o", color=FAINT, markersize=4, zorder=2)
    drawn = np.array([x[value] for value in values])
    order = np.argsort(drawn)
    if span is None:
        axes.plot(
            drawn[order],
            np.array(means)[order],
            "s--",
            color=ORANGE,
            markersize=6,
            linewidth=1.2,
            label=words("mean of all runs with this value"),
            zorder=3,
        )
    best = tried[0]
    axes.plot(
        [x[best.values[at]]],
        [best.mean],
        "D",
        color=BLUE,
        markersize=8,
        label=words("best settings: %(value)s", value=share(best.mean, words.lang)),
        zorder=4,
    )
    axes.plot([], [], "o", color=FAINT, markersize=4, label=words("one run"))
    axes.set_ylim(*accuracy_range([a for each in tried for a in each.accuracies]))
    name_axes(axes, escape_dollars(name), words("validation accuracy"))
    add_legend(figure, 3)
    return figure


def sweep_curves(
    names: Sequence[str],
    tried: Sequence[TriedSettings],
    words: Words = ENGLISH,
    stopped: Sequence[Sequence[float]] = (),
) -> Figure:
    """Validation accuracy by epoch, the mean over each combination's runs, the best six by name.

    Args:
        stopped: curves of trainings that were stopped early.
    """
    title = words("Learning curves")
    named = min(len(tried), 1 + len(OTHERS))
    figure, axes = new_axes(6.4, 3.2 + 0.21 * (named + 1), title, words.lang)
    longest = 1
    for rank in range(len(tried) - 1, -1, -1):
        each = tried[rank]
        mean = _mean_curve(each.curves)
        longest = max(longest, len(mean))
        epochs = np.arange(1, len(mean) + 1)
        colour = BLUE if rank == 0 else OTHERS[rank - 1] if rank < named else FAINT
        label = each.label(names) or words("the only settings")
        axes.plot(
            epochs,
            mean,
            "o-" if rank == 0 else "-",
            color=colour,
            markersize=3 if len(mean) > 1 else 6,
            linewidth=2.4 if rank == 0 else 1.2 if rank < named else 0.7,
            alpha=1.0 if rank < named else 0.6,
            zorder=10 - min(rank, 9),
            label=escape_dollars(label) if rank < named else None,
        )
    axes.set_xlim(0.7, longest + 0.3)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True, min_n_ticks=1))
    name_axes(axes, words("epoch"), words("validation accuracy"))
    handles, texts = axes.get_legend_handles_labels()
    handles.reverse()
    if len(tried) > named:
        handles += axes.plot([], [], "-", color=FAINT, linewidth=0.7, label=words("all others"))
    for place, curve in enumerate(stopped):
        lines = axes.plot(range(1, len(curve) + 1), curve, "x:", zorder=1, color=MUTED)
        lines[0].set(linewidth=0.9, alpha=0.8, markevery=[-1], markersize=4)
        if place == 0:
            lines[0].set_label(words("stopped early"))
            handles += lines
    if texts:
        figure.legend(
            handles=handles,
            loc="outside lower left",
            ncols=1,
            frameon=False,
            fontsize=SMALL,
            labelcolor=INK,
        )
    return figure


def _mean_curve(curves: Sequence[Sequence[float]]) -> np.ndarray:
    """The mean over runs; one that ended early stays where it ended."""
    longest = max(map(len, curves))
    rows = [[*curve, *[curve[-1]] * (longest - len(curve))] for curve in curves]
    return np.array(rows).mean(axis=0)


def _positions(
    axes: Axes, values: Sequence[str], words: Words, span: Span | None = None
) -> dict[str, float]:
    """Place values on the x axis: numbers by their size, others side by side."""
    try:
        numbers = {value: float(value) for value in values}
    except ValueError:
        numbers = {}
    alone = len(numbers) == 1 and span is None
    if not numbers or not all(np.isfinite(list(numbers.values()))) or alone:
        places = {value: float(i) for i, value in enumerate(values)}
        axes.set_xticks(list(places.values()), [escape_dollars(tick_label(v)) for v in values])
        axes.set_xlim(-0.5, len(values) - 0.5)
        return places
    found = np.array([span.low, span.high] if span else sorted(numbers.values()))
    wide = found[0] > 0 and found[-1] / found[0] >= WIDE
    if span.log if span else wide:
        axes.set_xscale("log")
        axes.set_xlim(found[0] / 1.4, found[-1] * 1.4)
    else:
        edge = 0.08 * (found[-1] - found[0])
        axes.set_xlim(found[0] - edge, found[-1] + edge)
    mark = DECIMAL_MARKS[words.lang]
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}".replace(".", mark)))
    if span is None and len(found) <= 8:
        axes.xaxis.set_major_locator(FixedLocator(list(found)))
        axes.xaxis.set_minor_locator(NullLocator())
    elif span and span.log:  # its powers of ten may be few
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=9))
        axes.xaxis.set_minor_locator(NullLocator())
    return numbers


def _spread(axes: Axes, at: float, count: int) -> np.ndarray:
    """Places side by side around `at`, since points at one place would hide each other."""
    low, high = axes.get_xlim()
    shares = np.linspace(-0.012, 0.012, count) if count > 1 else np.zeros(count)
    if axes.get_xscale() == "log":
        return np.asarray(at * (high / low) ** shares)
    return at + shares * (high - low)


def accuracy_range(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis of accuracies, which is not too narrow."""
    low, high = min(values), max(values)
    if high - low < NARROWEST:
        middle = (low + high) / 2
        low, high = middle - NARROWEST / 2, middle + NARROWEST / 2
    margin = 0.08 * (high - low)
    return low - margin, high + margin
