"""The style of all figures: title, legend, ticks, fonts and colours.

Nothing here touches matplotlib's global state, so that tasks may draw in threads. Text is legible when
a figure is shown 350 pixels wide, on a phone.
"""

from bisect import bisect_right
from collections.abc import Sequence
from functools import cache, lru_cache
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.text import Text
from matplotlib.textpath import text_to_path
from matplotlib.ticker import ScalarFormatter
from PIL import Image

from tasks.vision.figures.numbers import DECIMAL_MARKS
from tasks.vision.recipe.names import visible

INK, MUTED, RULE = "#1b2430", "#566170", "#d9dee5"
BLUE, ORANGE = "#1f5fa8", "#c2571a"
SMALL, NORMAL, TITLE = 9.5, 10.5, 12.0  # points
DOTS_PER_INCH = 200
MAX_TICK_LABELS = 60  # classes that an axis labels at most
MAX_TICK_WIDTH = 130.0  # points of a class's tick label, about 25 characters
# Fallbacks for scripts that the first font lacks, common on Linux, macOS and Windows.
FONTS = (
    "DejaVu Sans",
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans JP", "Noto Sans SC", "WenQuanYi Zen Hei"),
    *("Hiragino Sans", "PingFang SC", "Yu Gothic", "Microsoft YaHei", "Malgun Gothic"),
    *("Noto Sans Devanagari", "Noto Sans Thai", "Noto Sans Bengali", "Noto Sans Tamil"),
    *("Arial Unicode MS", "Noto Sans Symbols2", "FreeSans"),
)


def png(figure: Figure, width: int | None = None, colours: int | None = None) -> bytes:
    """Render the figure as PNG, without date or version: equal figures give equal bytes.

    Args:
        width: pixels, at most; defaults to what `DOTS_PER_INCH` gives.
        colours: how many, at most 256; all of them by default, which a figure with photos needs.
    """
    for text in figure.findobj(Text):
        if isinstance(text, Text) and not text.get_text().isascii():
            text.set_fontfamily(available_fonts())
    dpi = min(DOTS_PER_INCH, width / figure.get_figwidth()) if width else DOTS_PER_INCH
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    if colours is None:
        return buffer.getvalue()
    few = BytesIO()
    with Image.open(buffer) as picture:
        picture.convert("RGB").quantize(colours).save(few, "PNG", optimize=True)
    return few.getvalue()


@cache
def available_fonts() -> list[str]:
    """List the installed ones of `FONTS`; matplotlib warns about names that are missing."""
    there = {font.name for font in fontManager.ttflist}
    return [name for name in FONTS if name in there]


def missing_glyphs(text: str) -> str:
    """Return the characters, each once, that no installed font has and figures draw as boxes."""
    drawn: set[int] = set()
    for name in available_fonts():
        drawn |= get_font(findfont(name)).get_charmap().keys()
    return "".join(dict.fromkeys(c for c in text if c.isprintable() and ord(c) not in drawn))


def one_line(name: str) -> str:
    """Replace all white space in a class's name by single spaces."""
    return " ".join(visible(name).split())


def escape_dollars(text: str) -> str:
    """Escape dollar signs, with which a class's name would start a formula in matplotlib."""
    return text.replace("$", r"\$")


def new_figure(width: float, height: float, title: str, fixed: bool = False) -> Figure:
    """Create an empty white figure with a title, size in inches; `fixed` if axes are placed by hand."""
    layout: Any = "none" if fixed else "constrained"
    figure = Figure(figsize=(width, height), layout=layout, facecolor="white")
    text = one_line(title)
    # The font shrinks until the title fits.
    size = TITLE * min(1.0, 0.96 * 72 * width / max(1.0, text_width(text, TITLE, "bold")))
    look: dict[str, Any] = {"size": size, "weight": "bold", "color": INK, "ha": "left", "x": 0.01}
    if fixed:
        look |= {"y": 1 - 0.07 / height, "va": "top"}
    figure.suptitle(escape_dollars(text), **look)
    return figure


def new_axes(
    width: float, height: float, title: str, lang: str, grid: str = "y"
) -> tuple[Figure, Axes]:
    """Create a figure as `new_figure` does, with one pair of axes in this style."""
    figure = new_figure(width, height, title)
    axes = figure.add_subplot()
    style_axes(axes, lang, grid)
    return figure, axes


@lru_cache(4096)
def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Measure the width of a line of text in points."""
    if not text.strip():
        return 0.0
    look = FontProperties(
        family=None if text.isascii() else available_fonts(), weight=weight, size=size
    )
    width, _, _ = text_to_path.get_text_width_height_descent(text, look, ismath=False)
    return float(width)


def truncate(text: str, most: int) -> str:
    """Shorten a text to at most `most` characters, the last of them an ellipsis."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def tick_label(name: str) -> str:
    """Shorten a class's name to the width of a tick label."""
    name = one_line(name)
    if text_width(name, SMALL) <= MAX_TICK_WIDTH:
        return name
    lengths = range(2, len(name))
    fitting = bisect_right(
        lengths, MAX_TICK_WIDTH, key=lambda n: text_width(truncate(name, n), SMALL)
    )
    return truncate(name, max(2, fitting + 1))


def add_legend(figure: Figure, columns: int) -> None:
    """Add a frameless legend below the axes, with as many of the columns as fit."""
    spaces = {"handlelength": 2.4, "handletextpad": 0.8, "columnspacing": 1.4, "borderpad": 0.4}
    texts = [text for axes in figure.axes for text in axes.get_legend_handles_labels()[1]]
    widths = [text_width(text, SMALL) + 3.2 * SMALL for text in texts]

    def width(n: int) -> float:  # matplotlib fills columns like array_split
        parts = [max(part) for part in np.array_split(widths, n) if len(part)]
        return sum(parts) + (1.4 * (n - 1) + 0.8) * SMALL

    while columns > 1 and width(columns) > 72 * figure.get_figwidth():
        columns -= 1
    look: dict[str, Any] = {"frameon": False, "fontsize": SMALL, "labelcolor": INK, **spaces}
    figure.legend(loc="outside lower left", ncols=columns, **look)


class LocalizedFormatter(ScalarFormatter):
    """matplotlib's tick labels with the decimal mark of a language."""

    def __init__(self, lang: str) -> None:
        super().__init__()
        self._mark = DECIMAL_MARKS[lang]

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Format one tick."""
        return super().__call__(x, pos).replace(".", self._mark)


def style_axes(axes: Axes, lang: str, grid: str = "y") -> None:
    """Remove the frame and set small muted ticks; `grid` is "x", "y", "both" or ""."""
    axes.xaxis.set_major_formatter(LocalizedFormatter(lang))
    axes.yaxis.set_major_formatter(LocalizedFormatter(lang))
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.tick_params(colors=MUTED, labelsize=SMALL, length=0, pad=4)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis=grid, color=RULE, linewidth=0.6)  # type: ignore[arg-type]


def name_axes(axes: Axes, x: str, y: str) -> None:
    """Set the names of both axes."""
    axes.set_xlabel(x, size=SMALL, color=MUTED)
    axes.set_ylabel(y, size=SMALL, color=MUTED)


def mark_best(axes: Axes, x: float, y: float) -> None:
    """Mark the chosen point of a curve by a ring and a vertical line."""
    axes.axvline(x, color=MUTED, linewidth=0.8, zorder=1)
    ring: dict[str, Any] = {"marker": "o", "markersize": 10, "fillstyle": "none"}
    axes.plot(x, y, color=INK, markeredgewidth=1.5, **ring)


def labelled_positions(count: int) -> range:
    """Return the positions of the classes that an axis has room to label: all, or every n-th."""
    return range(0, count, -(-count // MAX_TICK_LABELS))


def set_class_ticks(axes: Axes, labels: Sequence[str], room: float) -> None:
    """Label classes along x, rotated if they need more than `room` inches each."""
    positions = labelled_positions(len(labels))
    labels = [tick_label(labels[i]) for i in positions]
    rotated = max(map(len, labels)) * 0.09 > room
    axes.set_xticks(positions, [escape_dollars(label) for label in labels])
    for label in axes.get_xticklabels():
        label.set(rotation=40 if rotated else 0, ha="right" if rotated else "center")
        label.set_rotation_mode("anchor" if rotated else "default")
