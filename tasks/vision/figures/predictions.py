"""Figures of what a model predicts: pictures with its answers, its confusions, its confidence."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from tasks.vision.figures.numbers import number, percent, share
from tasks.vision.figures.style import (
    BLUE,
    INK,
    MUTED,
    NORMAL,
    ORANGE,
    RULE,
    SMALL,
    class_ticks,
    evenly_named,
    legend,
    one_line,
    plain,
    quiet,
    sheet,
    shortened,
    tick_name,
    width_of,
)
from tasks.vision.figures.words import WORDS

RIGHT, WRONG = "#0a6b4f", "#b3261e"
COLUMNS = 4
WIDTH, SIDE, MARGIN, HEAD = 5.0, 1.12, 0.08, 0.38  # inches of a prediction grid
CAPTION, LINE = 9.0, 0.16  # points, and inches from line to line
LONGEST = 40  # characters of a name; more than two lines hold
MANY, WIDEST = 24, 12.0  # labels whose counts are written out; inches of a matrix of more
SHADES = LinearSegmentedColormap.from_list("shades", ["#ffffff", "#bcd3ea", "#1f5fa8", "#123c6b"])


def prediction_grid(
    images: npt.NDArray[np.uint8],
    truth: Sequence[int] | None,
    probabilities: npt.NDArray[np.floating[Any]],
    labels: Sequence[str],
    title: str,
    lang: str = "en",
) -> Figure:
    """Images (n, h, w, 3), each with the predicted label, its probability and a tick or a cross.

    `truth` holds n indices into `labels`, `probabilities` is (n, labels). A right answer has a
    solid green frame and a tick; a wrong one a dashed red frame, a cross and the true label. Where
    no truth is known (None), frames are grey and unmarked.
    """
    words = WORDS[lang]
    if len(images) == 0:
        figure = sheet(WIDTH, 1.0, title, fixed=True)
        figure.text(0.012, 0.3, words["no_images"], size=NORMAL, color=MUTED)
        return figure
    guesses = np.argmax(probabilities, axis=1)
    wrong = np.zeros(len(images), bool) if truth is None else guesses != np.asarray(truth)
    captions = []
    for i, guess in enumerate(guesses):
        lines = _lines(labels[guess], _probability(float(probabilities[i, guess]), lang))
        if truth is not None and wrong[i]:
            lines += _lines(words["is"].format(label=labels[truth[i]]))
        captions.append(lines)
    tall = SIDE * images.shape[1] / images.shape[2]
    pitch = tall + 0.14 + LINE * max(map(len, captions))
    height = HEAD + pitch * -(-len(images) // COLUMNS)
    figure = sheet(WIDTH, height, title, fixed=True)
    for i, image in enumerate(images):
        row, column = divmod(i, COLUMNS)
        left = MARGIN + column * (WIDTH - 2 * MARGIN - SIDE) / (COLUMNS - 1)
        bottom = height - HEAD - row * pitch - tall
        box = (left / WIDTH, bottom / height, SIDE / WIDTH, tall / height)
        axes = figure.add_axes(box)
        _picture(axes, image, None if truth is None else bool(wrong[i]))
        axes.text(
            0.5,
            -0.06,
            plain("\n".join(captions[i])),
            transform=axes.transAxes,
            ha="center",
            va="top",
            size=CAPTION,
            linespacing=1.25,
            color=WRONG if wrong[i] else INK,
        )
    return figure


def _picture(axes: Axes, image: npt.NDArray[np.uint8], wrong: bool | None) -> None:
    axes.set(xticks=[], yticks=[])
    # Small pictures stay crisp squares; large ones are smoothed as they shrink.
    axes.imshow(
        image, aspect="auto", interpolation="nearest" if image.shape[0] <= 96 else "antialiased"
    )
    if wrong is None:
        for side in axes.spines.values():
            side.set(color=RULE, linewidth=0.8)
        return
    for side in axes.spines.values():
        side.set(color=WRONG if wrong else RIGHT, linewidth=2.2)
        side.set_linestyle((0, (2.2, 1.2)) if wrong else "solid")
        side.set_capstyle("butt")  # the default would fill the gaps between dashes
    axes.text(
        0.965,
        0.955,
        "✗" if wrong else "✓",
        transform=axes.transAxes,
        ha="right",
        va="top",
        size=SMALL,
        weight="bold",
        color="white",
        bbox={"boxstyle": "circle,pad=0.12", "color": WRONG if wrong else RIGHT},
    )


def _lines(name: str, after: str = "") -> list[str]:
    """A name and what comes after it, in one line or two as wide as a picture; cut where it must be."""
    name = shortened(one_line(name), LONGEST)
    whole = f"{name} {after}".strip()
    if _fits(whole):
        return [whole]
    words = name.split(" ")
    full = max((n for n in range(1, len(words)) if _fits(" ".join(words[:n]))), default=0)
    if full:
        return [" ".join(words[:full]), _cut(" ".join(words[full:]), after)]
    return [_cut(name), *([after] if after else [])]


def _cut(text: str, after: str = "") -> str:
    """As much of a text as fits before what comes after it."""
    for most in range(len(text), 0, -1):
        if _fits(line := f"{shortened(text, most)} {after}".strip()):
            return line
    return after


def _fits(line: str) -> bool:
    return width_of(line, CAPTION) <= 72 * SIDE


def _probability(value: float, lang: str) -> str:
    # Rounding a doubt away would claim a certainty that the model does not have.
    sure = 0.995 <= value < 1
    return f">{share(0.99, lang, 2)}" if sure else share(value, lang, 2)


def confusion_matrix(
    matrix: Sequence[Sequence[int]], labels: Sequence[str], title: str, lang: str = "en"
) -> Figure:
    """Counts and shares of each row: rows are true classes, columns predicted ones."""
    words = WORDS[lang]
    counts = np.asarray(matrix, dtype=np.int64)
    labels = [tick_name(label) for label in labels]
    n = len(labels)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    # Numbers in the cells of very many labels can't be read, and to draw them takes minutes and gigabytes.
    many = n > MANY
    cell = 0.95 if n <= 3 else 0.7 if n <= 6 else WIDEST / n if many else 0.58
    margin = 0.5 + 0.09 * max(len(label) for label in labels)
    figure = sheet(max(3.4, n * cell + margin), max(2.6, n * cell * 0.82 + margin + 0.2), title)
    axes = figure.add_subplot()
    axes.imshow(shares, cmap=SHADES, vmin=0, vmax=1, aspect="auto")
    quiet(axes, lang, "")
    axes.spines["bottom"].set_visible(False)
    if not many:
        axes.set_xticks(np.arange(n - 1) + 0.5, minor=True)
        axes.set_yticks(np.arange(n - 1) + 0.5, minor=True)
        axes.grid(which="minor", color=RULE, linewidth=0.8)
        axes.tick_params(which="minor", length=0)
    class_ticks(axes, labels, room=cell)
    named = evenly_named(n)
    axes.set_yticks(named, [plain(labels[i]) for i in named])
    axes.tick_params(labelcolor=INK)
    axes.set_xlabel(words["predicted"], size=SMALL, color=MUTED)
    axes.set_ylabel(words["truth"], size=SMALL, color=MUTED)
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
            number(int(count), lang),
            va="bottom",
            size=big,
            weight="bold",
            **where,
        )
        axes.text(column, row + 0.06, percent(part, lang), va="top", size=small, **where)
    return figure


def reliability_diagram(
    bins: Sequence[Mapping[str, float]], ece: float, title: str, lang: str = "en"
) -> Figure:
    """How often the model is right at each confidence, and how often it has that confidence.

    A bin has its mean `confidence`, `accuracy` (0 to 1) and `count`; empty ones are left out.
    """
    words = WORDS[lang]
    full = [entry for entry in bins if entry["count"] > 0]
    confidence = [entry["confidence"] for entry in full]
    accuracy = [entry["accuracy"] for entry in full]
    total = sum(entry["count"] for entry in full)
    figure = sheet(5.0, 4.6, title)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
    quiet(upper, lang, "both")
    quiet(lower, lang, "x")
    upper.plot(
        [0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label=words["perfect"]
    )
    upper.vlines(confidence, confidence, accuracy, color=ORANGE, linewidth=2.5, alpha=0.55)
    upper.plot(confidence, accuracy, color=BLUE, marker="o", markersize=5, label=words["measured"])
    upper.set(xlim=(0, 1.02), ylim=(0, 1.02))
    upper.set_ylabel(words["share_right"], size=SMALL, color=MUTED)
    error = words["calibration_error"].format(ece=share(ece, lang))
    upper.set_title(error, loc="left", size=NORMAL, color=INK)
    legend(figure, 2)
    parts = [entry["count"] / total for entry in full]
    lower.bar(confidence, parts, width=0.03, color="#9fb3c8")
    lower.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    lower.set_ylabel(words["images"], size=SMALL, color=MUTED)
    lower.set_xlabel(words["confidence"], size=SMALL, color=MUTED)
    return figure
