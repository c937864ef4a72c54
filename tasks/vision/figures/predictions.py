"""Figures of predictions: images with predicted labels, and the confusion matrix."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tasks.vision.figures.numbers import number, percent, probability
from tasks.vision.figures.style import (
    INK,
    MUTED,
    NORMAL,
    RULE,
    escape_dollars,
    labelled_positions,
    name_axes,
    new_figure,
    one_line,
    set_class_ticks,
    style_axes,
    text_width,
    tick_label,
    truncate,
)
from tasks.vision.figures.words import ENGLISH, Words

COLUMNS = 4
WIDTH, SIDE, MARGIN, HEAD = 5.0, 1.12, 0.08, 0.38  # inches of a prediction grid
CAPTION, LINE = 9.0, 0.16  # font size in points, line height in inches
MAX_NAME = 40  # characters of a label, more than fit in two lines
# More labels than this leave no room for numbers, which for 200 labels took minutes and 8.8 GB.
MAX_NUMBERED, MAX_WIDTH = 24, 12.0  # labels; inches of a matrix of more
SHADES = LinearSegmentedColormap.from_list("shades", ["#ffffff", "#bcd3ea", "#1f5fa8", "#123c6b"])


def prediction_grid(
    images: npt.NDArray[np.uint8],
    probabilities: npt.NDArray[np.floating[Any]],
    labels: Sequence[str],
    title: str,
    words: Words = ENGLISH,
    answers: Sequence[str] | None = None,
) -> Figure:
    """Grid of images, each with its predicted label and the probability of that label.

    Args:
        images: (n, size, size, 3). probabilities: (n, labels).
        answers: n words to show as predictions; the most probable labels by default.
    """
    if len(images) == 0:
        figure = new_figure(WIDTH, 1.0, title, fixed=True)
        figure.text(0.012, 0.3, words("no images to show"), size=NORMAL, color=MUTED)
        return figure
    guesses = np.argmax(probabilities, axis=1)
    captions = [
        _lines(
            answers[i] if answers else labels[guess],
            probability(float(probabilities[i, guess]), words.lang),
        )
        for i, guess in enumerate(guesses)
    ]
    pitch = SIDE + 0.14 + LINE * max(map(len, captions))
    height = HEAD + pitch * -(-len(images) // COLUMNS)
    figure = new_figure(WIDTH, height, title, fixed=True)
    # One pair of axes in inches: a pair for each image takes twice as long to draw.
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for i, image in enumerate(images):
        row, column = divmod(i, COLUMNS)
        left = MARGIN + column * (WIDTH - 2 * MARGIN - SIDE) / (COLUMNS - 1)
        bottom = height - HEAD - row * pitch - SIDE
        _draw_image(axes, image, left, bottom)
        axes.text(
            left + SIDE / 2,
            bottom - 0.06 * SIDE,
            escape_dollars("\n".join(captions[i])),
            ha="center",
            va="top",
            size=CAPTION,
            linespacing=1.25,
            color=INK,
        )
    axes.set(xlim=(0, WIDTH), ylim=(0, height))
    return figure


def _draw_image(axes: Axes, image: npt.NDArray[np.uint8], left: float, bottom: float) -> None:
    # Pixels of small images stay sharp; large images are smoothed.
    smoothing = "nearest" if image.shape[0] <= 96 else "antialiased"
    extent = (left, left + SIDE, bottom, bottom + SIDE)
    axes.imshow(image, aspect="auto", extent=extent, interpolation=smoothing)
    axes.add_patch(Rectangle((left, bottom), SIDE, SIDE, fill=False, color=RULE, linewidth=0.8))


def _lines(name: str, after: str = "") -> list[str]:
    """Wrap a label and the text after it to at most two lines as wide as an image."""
    name = truncate(one_line(name), MAX_NAME)
    whole = f"{name} {after}".strip()
    if _fits(whole):
        return [whole]
    words = name.split(" ")
    full = max((n for n in range(1, len(words)) if _fits(" ".join(words[:n]))), default=0)
    if full:
        return [" ".join(words[:full]), _cut(" ".join(words[full:]), after)]
    return [_cut(name), *([after] if after else [])]


def _cut(text: str, after: str = "") -> str:
    """Truncate a text until it fits into a line together with the text after it."""
    for most in range(len(text), 0, -1):
        if _fits(line := f"{truncate(text, most)} {after}".strip()):
            return line
    return after


def _fits(line: str) -> bool:
    return text_width(line, CAPTION) <= 72 * SIDE


def confusion_matrix(
    matrix: Sequence[Sequence[int]], labels: Sequence[str], title: str, words: Words = ENGLISH
) -> Figure:
    """Counts and row shares; rows are true classes, columns predicted classes."""
    counts = np.asarray(matrix, dtype=np.int64)
    labels = [tick_label(label) for label in labels]
    n = len(labels)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    many = n > MAX_NUMBERED
    cell = 0.95 if n <= 3 else 0.7 if n <= 6 else MAX_WIDTH / n if many else 0.58
    margin = 0.5 + 0.09 * max(len(label) for label in labels)
    figure = new_figure(
        max(3.4, n * cell + margin), max(2.6, n * cell * 0.82 + margin + 0.2), title
    )
    axes = figure.add_subplot()
    axes.imshow(shares, cmap=SHADES, vmin=0, vmax=1, aspect="auto")
    style_axes(axes, words.lang, "")
    axes.spines["bottom"].set_visible(False)
    if not many:
        axes.set_xticks(np.arange(n - 1) + 0.5, minor=True)
        axes.set_yticks(np.arange(n - 1) + 0.5, minor=True)
        axes.grid(which="minor", color=RULE, linewidth=0.8)
        axes.tick_params(which="minor", length=0)
    set_class_ticks(axes, labels, room=cell)
    named = labelled_positions(n)
    axes.set_yticks(named, [escape_dollars(labels[i]) for i in named])
    axes.tick_params(labelcolor=INK)
    name_axes(axes, words("predicted class"), words("true class"))
    big, small = (12.0, 9.5) if n <= 3 else (9.0, 7.5)
    for (row, column), count in np.ndenumerate(counts) if not many else ():
        part = float(shares[row, column])
        colour = "white" if part > 0.45 else INK if count else "#8b939c"
        where: dict[str, Any] = {"ha": "center", "color": colour}
        if not count:
            axes.text(column, row, "0", va="center", size=small, **where)
            continue
        axes.text(
            column,
            row - 0.04,
            number(int(count), words.lang),
            va="bottom",
            size=big,
            weight="bold",
            **where,
        )
        axes.text(column, row + 0.06, percent(part, words.lang), va="top", size=small, **where)
    return figure
