"""Figure of a model's calibration."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from tasks.vision.evaluation.scores import Bin
from tasks.vision.figures.numbers import share
from tasks.vision.figures.style import (
    BLUE,
    INK,
    MUTED,
    NORMAL,
    ORANGE,
    SMALL,
    add_legend,
    name_axes,
    new_figure,
    style_axes,
)
from tasks.vision.figures.words import ENGLISH, Words


def reliability_diagram(
    bins: Sequence[Bin], ece: float, title: str, words: Words = ENGLISH
) -> Figure:
    """Accuracy in each confidence bin, and below it the share of images in the bin; empty bins are skipped."""
    full = [entry for entry in bins if entry.count > 0]
    confidence = [entry.confidence for entry in full]
    accuracy = [entry.accuracy for entry in full]
    total = sum(entry.count for entry in full)
    figure = new_figure(5.0, 4.6, title)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
    style_axes(upper, words.lang, "both")
    style_axes(lower, words.lang, "x")
    upper.plot(
        [0, 1],
        [0, 1],
        color=MUTED,
        linewidth=1,
        linestyle=(0, (4, 3)),
        label=words("perfectly calibrated"),
    )
    upper.vlines(confidence, confidence, accuracy, color=ORANGE, linewidth=2.5, alpha=0.55)
    upper.plot(confidence, accuracy, color=BLUE, marker="o", markersize=5, label=words("measured"))
    upper.set(xlim=(0, 1.02), ylim=(0, 1.02))
    upper.set_ylabel(words("share correct"), size=SMALL, color=MUTED)
    error = words("calibration error (ECE) %(ece)s", ece=share(ece, words.lang))
    upper.set_title(error, loc="left", size=NORMAL, color=INK)
    add_legend(figure, 2)
    parts = [entry.count / total for entry in full]
    lower.bar(confidence, parts, width=0.03, color="#9fb3c8")
    lower.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    name_axes(lower, words("confidence of the prediction"), words("images"))
    return figure
