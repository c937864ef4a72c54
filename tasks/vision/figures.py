"""Figures of the data and of training, drawn with matplotlib; `grids` has those of predictions.

Every function returns a new `Figure` and leaves matplotlib's global state alone, so that tasks may
draw in threads. Sizes are chosen to be legible when a figure is shown 350 pixels wide, on a phone.
"""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

INK, MUTED, RULE = "#1b2430", "#566170", "#d9dee5"
BLUE, ORANGE, GREY = "#1f5fa8", "#c2571a", "#6b7480"
SMALL, NORMAL, TITLE = 8.0, 9.5, 11.0  # points
DOTS_PER_INCH = 200
ROUND_TIMES = (0.1, 0.3, 1, 3, 10, 30, 60, 180, 600, 1800, 3600, 10800, 36000)  # seconds

# Shades of one family tell curves of one kind apart; line style and marker tell the kinds apart.
KINDS: dict[str, tuple[str, str, str]] = {  # shades, line style, marker
    "transfer": ("#1f5fa8 #0b8074 #6a45a8 #2f8fbf", "-", "o"),
    "scratch": ("#c2571a #a3294f #8c6a00 #6b3a1f", "--", "s"),
    "random": ("#59626d #8b939c #343b44 #a08f7a", ":", "D"),
}

# Every word that stands in a picture; a translation adds a table of its own.
WORDS: dict[str, dict[str, str]] = {
    "en": {
        "train": "train",
        "validation": "validation",
        "test": "test",
        "images": "images",
        "epoch": "epoch",
        "loss": "loss",
        "accuracy": "accuracy",
        "best": "best epoch {epoch}: {value}",
        "best_by": "epoch {epoch}, best by accuracy",
        "truth": "true class",
        "predicted": "predicted class",
        "confidence": "confidence of the prediction",
        "share_right": "share that is right",
        "perfect": "perfectly calibrated",
        "measured": "measured",
        "calibration_error": "calibration error (ECE) {ece}",
        "time": "training time",
        "is": "is {label}",
        "no_images": "no pictures to show",
    }
}


def png(figure: Figure) -> bytes:
    """The figure as PNG bytes, without date or version: equal figures give equal bytes."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()


def plain(text: str) -> str:
    """Text that matplotlib draws as it is: a dollar sign in a class name starts no formula."""
    return text.replace("$", r"\$")


def share(value: float) -> str:
    """A share between 0 and 1 with three decimals and no leading zero: `.968`."""
    text = f"{value:.3f}"
    return text[1:] if text.startswith("0.") else text


def sheet(width: float, height: float, title: str, fixed: bool = False) -> Figure:
    """An empty white figure, in inches, and its title; `fixed` means axes are placed by hand."""
    layout: Any = "none" if fixed else "constrained"
    figure = Figure(figsize=(width, height), layout=layout, facecolor="white")
    look: dict[str, Any] = {"size": TITLE, "weight": "bold", "color": INK, "ha": "left", "x": 0.01}
    if fixed:
        look |= {"y": 1 - 0.07 / height, "va": "top"}
    figure.suptitle(plain(title), **look)
    return figure


def legend(figure: Figure, columns: int) -> None:
    """A legend without a frame below the axes, at the left."""
    look: dict[str, Any] = {"frameon": False, "fontsize": SMALL, "labelcolor": INK}
    figure.legend(loc="outside lower left", ncols=columns, handlelength=3, **look)


def quiet(axes: Axes, grid: str = "y") -> None:
    """Takes the frame off axes and sets small muted ticks; `grid` is "x", "y", "both" or ""."""
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.tick_params(colors=MUTED, labelsize=SMALL, length=0, pad=4)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis=grid, color=RULE, linewidth=0.6)  # type: ignore[arg-type]


def class_ticks(axes: Axes, labels: Sequence[str], room: float) -> None:
    """Names classes along x, turned where they are longer than `room` inches for each allows."""
    turned = max(len(label) for label in labels) * 0.078 > room
    axes.set_xticks(range(len(labels)), [plain(label) for label in labels])
    for tick in axes.get_xticklabels():
        tick.set(rotation=40 if turned else 0, ha="right" if turned else "center")
        tick.set_rotation_mode("anchor" if turned else "default")


def class_distribution(
    classes: list[str], counts: dict[str, list[int]], title: str = "", lang: str = "en"
) -> Figure:
    """Bars of images per class; `counts` maps train, validation and test to a count per class."""
    words = WORDS[lang]
    width = float(np.clip(0.5 * len(classes), 5.0, 14.0))
    figure = sheet(width, 3.1, title)
    axes = figure.add_subplot()
    quiet(axes)
    bar = 0.8 / max(1, len(counts))
    for i, (split, values) in enumerate(counts.items()):
        x = np.arange(len(classes)) + (i - (len(counts) - 1) / 2) * bar
        colour = (BLUE, ORANGE, "#9fb3c8")[i % 3]
        label = f"{words.get(split, split)}  {sum(values):,}"
        axes.bar(x, values, width=bar * 0.94, color=colour, label=plain(label))
    class_ticks(axes, classes, room=(width - 0.7) / len(classes))
    axes.set_ylabel(words["images"], size=SMALL, color=MUTED)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    legend(figure, 3)
    return figure


def _curves(
    history: Sequence[Mapping[str, Any]], measure: str, title: str, best_epoch: int, lang: str
) -> Figure:
    words = WORDS[lang]
    figure = sheet(5.0, 3.1, title)
    axes = figure.add_subplot()
    quiet(axes)
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
                epoch=best_epoch, value=share(at_best)
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
    curves: Sequence[Mapping[str, Any]], title: str, measure: str, lang: str = "en"
) -> Figure:
    """Accuracy over training time; `seconds` of a curve count from its start and never fall.

    The time axis is logarithmic when the first epoch and the longest run differ twentyfold.
    """
    columns = 2 if max((len(curve["name"]) for curve in curves), default=0) <= 24 else 1
    figure = sheet(5.4, 3.4 + 0.2 * len(curves) / columns, title)
    axes = figure.add_subplot()
    quiet(axes, "both")
    seen: dict[str, int] = {}
    for curve in curves:
        shades, style, mark = KINDS[curve["kind"]]
        nth = seen[curve["kind"]] = seen.get(curve["kind"], -1) + 1
        axes.plot(
            curve["seconds"],
            curve["accuracy"],
            color=shades.split()[nth % 4],
            linestyle=style,
            marker=mark,
            markevery=[-1] if len(curve["seconds"]) > 1 else None,
            markersize=5,
            linewidth=2.2 if curve["kind"] == "transfer" else 1.5,
            label=plain(f"{curve['name']}  {share(curve['accuracy'][-1])}"),
        )
    times = [second for curve in curves for second in curve["seconds"] if second > 0]
    if times and max(times) > 20 * min(times):
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_locator(
            FixedLocator([t for t in ROUND_TIMES if min(times) * 0.7 <= t <= max(times) * 1.4])
        )
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _time(value)))
    axes.set_xlabel(WORDS[lang]["time"], size=SMALL, color=MUTED)
    axes.set_ylabel(measure, size=SMALL, color=MUTED)
    if curves:
        legend(figure, columns)
    return figure


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:g} s"
    units = ("h", "min") if seconds >= 3600 else ("min", "s")
    whole, rest = divmod(round(seconds / (60 if seconds >= 3600 else 1)), 60)
    return f"{whole} {units[0]} {rest} {units[1]}" if rest else f"{whole} {units[0]}"
