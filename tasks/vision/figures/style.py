"""What all figures look like: sheet, title, legend, ticks and colours.

Nothing here touches matplotlib's global state, so that tasks may draw in threads. Sizes are chosen to
be legible when a figure is shown 350 pixels wide, on a phone.
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

from tasks.vision.figures.numbers import MARKS
from tasks.vision.recipe.names import visible

INK, MUTED, RULE = "#1b2430", "#566170", "#d9dee5"
BLUE, ORANGE, GREY = "#1f5fa8", "#c2571a", "#6b7480"
SMALL, NORMAL, TITLE = 9.5, 10.5, 12.0  # points
DOTS_PER_INCH = 200
NAMED = 60  # classes that an axis names at most
TICK = 130.0  # points that a class's name at an axis may be long, about 25 characters
# What draws the scripts that the first one lacks, as systems commonly have them.
FONTS = (
    "DejaVu Sans",
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans JP", "Noto Sans SC", "WenQuanYi Zen Hei"),
    *("Hiragino Sans", "PingFang SC", "Yu Gothic", "Microsoft YaHei", "Malgun Gothic"),
    *("Noto Sans Devanagari", "Noto Sans Thai", "Noto Sans Bengali", "Noto Sans Tamil"),
    *("Arial Unicode MS", "Noto Sans Symbols2", "FreeSans"),
)


def png(figure: Figure) -> bytes:
    """The figure as PNG bytes, without date or version: equal figures give equal bytes."""
    for text in figure.findobj(Text):
        if isinstance(text, Text) and not text.get_text().isascii():
            text.set_fontfamily(fonts())
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()


@cache
def fonts() -> list[str]:
    """Those of `FONTS` that this machine has; to name another would log a warning."""
    there = {font.name for font in fontManager.ttflist}
    return [name for name in FONTS if name in there]


def undrawn(text: str) -> str:
    """Those characters of a text, each once, that no font here has: figures show boxes for them."""
    drawn: set[int] = set()
    for name in fonts():
        drawn |= get_font(findfont(name)).get_charmap().keys()
    return "".join(dict.fromkeys(c for c in text if c.isprintable() and ord(c) not in drawn))


def one_line(name: str) -> str:
    """A class's name with single spaces for white space of any kind."""
    return " ".join(visible(name).split())


def plain(text: str) -> str:
    """Text that matplotlib draws as it is: a dollar sign in a class name starts no formula."""
    return text.replace("$", r"\$")


def sheet(width: float, height: float, title: str, fixed: bool = False) -> Figure:
    """An empty white figure, in inches, and its title; `fixed` means axes are placed by hand."""
    layout: Any = "none" if fixed else "constrained"
    figure = Figure(figsize=(width, height), layout=layout, facecolor="white")
    text = one_line(title)
    # A long title is set smaller, so that it isn't cut off.
    size = TITLE * min(1.0, 0.96 * 72 * width / max(1.0, width_of(text, TITLE, "bold")))
    look: dict[str, Any] = {"size": size, "weight": "bold", "color": INK, "ha": "left", "x": 0.01}
    if fixed:
        look |= {"y": 1 - 0.07 / height, "va": "top"}
    figure.suptitle(plain(text), **look)
    return figure


@lru_cache(4096)
def width_of(text: str, size: float, weight: str = "normal") -> float:
    """How wide a line of text is, in points."""
    if not text.strip():
        return 0.0
    look = FontProperties(family=None if text.isascii() else fonts(), weight=weight, size=size)
    width, _, _ = text_to_path.get_text_width_height_descent(text, look, ismath=False)
    return float(width)


def shortened(text: str, most: int) -> str:
    """A text of at most so many characters, the last of them three dots where some are left out."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def tick_name(name: str) -> str:
    """A class's name in one line, as much of it as an axis has room for."""
    name = one_line(name)
    if width_of(name, SMALL) <= TICK:
        return name
    # The first number of characters that is too many is one more than what fits.
    counts = range(2, len(name))
    many = bisect_right(counts, TICK, key=lambda n: width_of(shortened(name, n), SMALL))
    return shortened(name, max(2, many + 1))


def legend(figure: Figure, columns: int) -> None:
    """A legend without a frame below the axes, at the left, in fewer columns if so many are too wide."""
    spaces = {"handlelength": 2.4, "handletextpad": 0.8, "columnspacing": 1.4, "borderpad": 0.4}
    texts = [text for axes in figure.axes for text in axes.get_legend_handles_labels()[1]]
    widths = [width_of(text, SMALL) + 3.2 * SMALL for text in texts]

    def wide(n: int) -> float:  # matplotlib fills the columns as array_split does
        parts = [max(part) for part in np.array_split(widths, n) if len(part)]
        return sum(parts) + (1.4 * (n - 1) + 0.8) * SMALL

    while columns > 1 and wide(columns) > 72 * figure.get_figwidth():
        columns -= 1
    look: dict[str, Any] = {"frameon": False, "fontsize": SMALL, "labelcolor": INK, **spaces}
    figure.legend(loc="outside lower left", ncols=columns, **look)


class Ticks(ScalarFormatter):
    """matplotlib's ticks with a language's decimal mark."""

    def __init__(self, lang: str) -> None:
        super().__init__()
        self._mark = MARKS[lang]

    def __call__(self, x: float, pos: int | None = None) -> str:
        """The text of one tick."""
        return super().__call__(x, pos).replace(".", self._mark)


def quiet(axes: Axes, lang: str, grid: str = "y") -> None:
    """Takes the frame off axes and sets small muted ticks; `grid` is "x", "y", "both" or ""."""
    axes.xaxis.set_major_formatter(Ticks(lang))
    axes.yaxis.set_major_formatter(Ticks(lang))
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.tick_params(colors=MUTED, labelsize=SMALL, length=0, pad=4)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis=grid, color=RULE, linewidth=0.6)  # type: ignore[arg-type]


def evenly_named(count: int) -> range:
    """Which of so many classes an axis has room to name: all, or every n-th."""
    return range(0, count, -(-count // NAMED))


def class_ticks(axes: Axes, labels: Sequence[str], room: float) -> None:
    """Names classes along x, turned where they are longer than `room` inches for each allows.

    Of very many, some are named.
    """
    named = evenly_named(len(labels))
    labels = [tick_name(labels[i]) for i in named]
    turned = max(map(len, labels)) * 0.09 > room
    axes.set_xticks(named, [plain(label) for label in labels])
    for label in axes.get_xticklabels():
        label.set(rotation=40 if turned else 0, ha="right" if turned else "center")
        label.set_rotation_mode("anchor" if turned else "default")
