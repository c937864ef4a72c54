"""Standard output: at most 80 columns on a terminal, plain text elsewhere.

On a narrower terminal the least important columns are dropped; if that is not enough, lines wrap.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal

from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from tasks.vision.text import printable

UNBOUNDED = 10_000  # columns, for pipes: one line for each row


class Output(Console):
    """Standard output that raises BrokenPipeError; rich would exit with status 1."""

    def on_broken_pipe(self) -> None:
        """Let the caller end the command."""
        raise BrokenPipeError


class Printer(Output):
    """Standard output for results; names in them come from outside and may hold control characters."""

    def __init__(self) -> None:
        bounded = sys.stdout.isatty() or "COLUMNS" in os.environ
        super().__init__(highlight=False, markup=False, width=None if bounded else UNBOUNDED)

    def render_str(self, text: str, **options: Any) -> Text:
        """Render a text or a cell with its control characters escaped."""
        return super().render_str(printable(text), **options)

    def print_line(self, text: str) -> None:
        """Print one line without wrapping, so that a path can be copied."""
        self.print(text, soft_wrap=True)

    def print_table(
        self, build: Callable[[Sequence[str]], Table], optional: Sequence[str]
    ) -> Sequence[str]:
        """Print the table that `build` returns, without the `optional` columns that don't fit.

        Args:
            build: makes the table without the columns that it is given.
            optional: columns to drop, the first one first.

        Returns:
            The columns that were dropped.
        """
        for count in range(len(optional) + 1):
            table = build(optional[:count])
            needed = Measurement.get(self, self.options.update(width=UNBOUNDED), table).minimum
            if needed <= self.width:
                break
        width = self.width
        self.width = max(needed, width)  # print() accepts no width beyond the console's
        self.print(table)
        self.width = width
        return optional[:count]


def table_of(
    columns: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    without: Sequence[str],
    left: int = 2,
    wrapped: str | None = None,
) -> Table:
    """Build a table without lines: the first `left` columns are left-aligned, the others right-aligned.

    Only the column `wrapped` may break between words. Other cells are never cut: half a number would be
    another number, and names are copied.
    """
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    indices = [i for i, name in enumerate(columns) if name not in without]
    for i in indices:
        name = columns[i]
        if name == wrapped:
            table.add_column(name, overflow="fold")
            continue
        width = max([cell_len(printable(str(row[i]))) for row in rows] + [cell_len(name)])
        justify: Literal["left", "right"] = "left" if i < left else "right"
        table.add_column(name, justify=justify, no_wrap=True, min_width=width)
    for row in rows:
        table.add_row(*(row[i] for i in indices))
    return table
