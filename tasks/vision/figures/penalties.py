"""Figure of how a head's L2 penalty was chosen: losses over its strength."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from tasks.vision.figures.numbers import significant
from tasks.vision.figures.style import (
    BLUE,
    INK,
    MUTED,
    ORANGE,
    SMALL,
    add_legend,
    new_figure,
    style_axes,
)
from tasks.vision.figures.words import ENGLISH, Words
from tasks.vision.trained_model import Penalty


def penalty_curves(
    tried: Sequence[Penalty], chosen: float, title: str, words: Words = ENGLISH
) -> Figure:
    """Training and validation loss over the strength of the penalty, the strongest at the left."""
    figure = new_figure(5.0, 3.1, title)
    axes = figure.add_subplot()
    style_axes(axes, words.lang)
    strengths = [each.strength for each in tried]
    for values, label, colour, style, marker in (
        ([each.loss for each in tried], words("train"), ORANGE, "--", "s"),
        ([each.validation_loss for each in tried], words("validation"), BLUE, "-", "o"),
    ):
        axes.plot(
            strengths,
            values,
            color=colour,
            linestyle=style,
            marker=marker,
            markersize=4,
            label=label,
        )
    best = next(each for each in tried if each.strength == chosen)
    axes.plot(
        chosen,
        best.validation_loss,
        color=INK,
        marker="o",
        markersize=10,
        fillstyle="none",
        markeredgewidth=1.5,
    )
    axes.axvline(chosen, color=MUTED, linewidth=0.8, zorder=1)
    axes.set_xscale("log")
    axes.invert_xaxis()
    axes.set_xticks(strengths)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: significant(value, words.lang)))
    axes.margins(y=0.12)
    axes.set_xlabel(
        words("strength of the L2 penalty, weaker to the right"), size=SMALL, color=MUTED
    )
    axes.set_ylabel(words("loss"), size=SMALL, color=MUTED)
    add_legend(figure, 2)
    return figure
