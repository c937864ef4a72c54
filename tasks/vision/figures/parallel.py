"""Figure of a sweep: parallel coordinates, an axis for each setting and one for validation accuracy."""

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tasks.vision.figures.numbers import share
from tasks.vision.figures.style import (
    BLUE,
    MUTED,
    RULE,
    SMALL,
    escape_dollars,
    new_figure,
    style_axes,
    tick_label,
)
from tasks.vision.figures.sweeps import Span, TriedSettings, accuracy_range
from tasks.vision.figures.words import ENGLISH, Words

MOST_TAGS = 13  # of values beside an axis


def parallel_coordinates(
    names: Sequence[str],
    values: Sequence[Sequence[str]],
    tried: Sequence[TriedSettings],
    words: Words = ENGLISH,
    spans: Sequence[Span | None] = (),
) -> Figure:
    """A line for each combination through its settings to its validation accuracy; the best is blue.

    Args:
        names: of the settings. values: of each, in the order given. spans: that they were picked from, if they
            were: their numbers have their place by size, others side by side.
    """
    width = float(np.clip(2.0 + 1.5 * len(names), 5.0, 11.0))
    title = words("All settings at once")
    figure = new_figure(width, 3.8, title)
    axes = figure.add_subplot()
    style_axes(axes, words.lang, "")
    axes.spines["bottom"].set_visible(False)
    means = [each.mean for each in tried]
    low, high = accuracy_range(means)
    places = [
        {value: span.place(value) for value in listed}
        if span
        else {value: (i + 0.5) / len(listed) for i, value in enumerate(listed)}
        for listed, span in zip(values, spans or [None] * len(names), strict=True)
    ]
    columns = range(len(names) + 1)
    for rank in range(len(tried) - 1, -1, -1):
        each = tried[rank]
        y = [place[value] for place, value in zip(places, each.values, strict=True)]
        y.append((each.mean - low) / (high - low))
        strength = (each.mean - low) / (high - low)
        best = rank == 0
        axes.plot(
            columns,
            y,
            color=BLUE if best else _shade(strength),
            linewidth=2.6 if best else 1.1,
            zorder=4 if best else 2,
        )
    for column in columns:
        axes.axvline(column, color=RULE, linewidth=1.2, zorder=1)
    for column, place in enumerate(places):
        for value, y_at in _apart(place):
            _tag(axes, column, y_at, tick_label(value))
    for tick in MaxNLocator(4).tick_values(low, high):
        if low <= tick <= high:
            _tag(axes, len(names), (tick - low) / (high - low), share(tick, words.lang))
    labels = [*map(tick_label, names), words("validation accuracy")]
    axes.set_xticks(columns, [escape_dollars(label) for label in labels])
    axes.set_yticks([])
    axes.set_xlim(-0.35, len(names) + 0.35)
    axes.set_ylim(-0.03, 1.03)
    return figure


def _apart(place: dict[str, float]) -> Iterator[tuple[str, float]]:
    """Yield values with their places, without those so near to one before that their text would cover it."""
    last = -1.0
    for value, at in sorted(place.items(), key=lambda item: item[1]):
        if at - last >= 1 / MOST_TAGS:
            yield value, at
            last = at


def _shade(strength: float) -> tuple[float, float, float]:
    """A grey to ochre, stronger for higher accuracy."""
    weak, strong = np.array([0.82, 0.84, 0.87]), np.array([0.76, 0.34, 0.10])
    red, green, blue = weak + (strong - weak) * float(np.clip(strength, 0, 1)) ** 2
    return float(red), float(green), float(blue)


def _tag(axes: Axes, x: float, y: float, text: str) -> None:
    """Write a value beside an axis of the parallel coordinates, on a white ground."""
    axes.annotate(
        escape_dollars(text),
        xy=(x, y),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        size=SMALL,
        color=MUTED,
        zorder=5,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85},
    )
