"""Tables about runs: at most 80 columns on a terminal, plain text elsewhere.

On a narrower terminal the least important columns are dropped; if that is not enough, lines wrap.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any, Literal

from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from tasks.progress import duration
from tasks.runs.summary import RunSummary
from tasks.vision.recipe.names import is_model, is_pretrained
from tasks.vision.text import printable

if TYPE_CHECKING:
    from tasks.runs.compare import RunComparison

UNBOUNDED = 10_000  # columns, for pipes: one line for each row

STYLES = {"better": "green", "worse": "red"}


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


def print_run(summary: RunSummary) -> None:
    """Print a run: the states, scores and seconds of its stages and their controls, and its report."""
    console = Printer()
    about = f"recipe {summary.recipe}, seed {summary.seed}, {summary.took}"
    console.print_line(f"{summary.run}: {about}")
    controls = summary.control_kinds
    optional = ["seconds", "balanced", *controls[::-1]]
    dropped = console.print_table(lambda without: stage_table(summary, without), optional)
    if not set(controls) <= set(dropped):
        console.print(
            "scratch: accuracy of the same network without its start, trained for as many"
        )
        console.print("epochs of all layers (one for a head)")
        starts = [stage.start for stage in summary.stages.values()]
        if any(is_pretrained(start) or is_model(start) for start in starts):
            console.print("(from a pretrained network: a small network, for one epoch)")
        if "sample" in controls:
            console.print("sample: accuracy of the same head, trained on a few hundred images")
        console.print("random: accuracy of the same head on a frozen random network")
        if "sample" in controls:
            console.print("(of a pretrained network: to compare with sample, whose images it has)")
    console.print_line(f"report: {summary.report}")


def stage_table(summary: RunSummary, without: Sequence[str] = ()) -> Table:
    """Build a table of stages: state, scores, scores of the controls, if any, and seconds."""
    controls = summary.control_kinds
    rows = []
    for name, stage in summary.stages.items():
        scores: list[float | None] = [stage.metrics.accuracy, stage.metrics.balanced_accuracy]
        present = [stage.controls.get(kind) for kind in controls]
        scores += [control.metrics.accuracy if control else None for control in present]
        cells = ["" if score is None else f"{score:.4f}" for score in scores]
        rows.append([name, stage.state, *cells, f"{stage.seconds:,.1f}"])
    columns = ["stage", "state", "accuracy", "balanced", *controls, "seconds"]
    return build_table(columns, rows, without)


def print_runs(summaries: list[RunSummary]) -> None:
    """Print runs, one per row: name, seed, duration, accuracy of each stage.

    The stages are named below, once for all runs with the same ones; a letter refers to them.
    """
    chains = list(dict.fromkeys(tuple(summary.stages) for summary in summaries))
    rows = []
    for summary in summaries:
        chain = chains.index(tuple(summary.stages))
        # Without the leading 0, five stages fit into 80 columns.
        scores = [
            f"{stage.metrics.accuracy:.4f}".removeprefix("0") for stage in summary.stages.values()
        ]
        cell = " ".join([*_letter(chain, chains), *scores])
        rows.append([summary.run, str(summary.seed), duration(summary.seconds), cell])
    columns = ["run", "seed", "took", "accuracy of each stage"]
    console = Printer()
    console.print_table(
        lambda without: build_table(columns, rows, without, left=1, wrapped=columns[-1]),
        ["seed", "took"],
    )
    for i, names in enumerate(chains):
        console.print(f"{''.join(_letter(i, chains)) or 'stages'}: {', '.join(names)}")


def _letter(chain: int, chains: list[tuple[str, ...]]) -> list[str]:
    """The letter of a chain of stages, or nothing if there is only one chain."""
    if len(chains) == 1:
        return []
    return [ascii_uppercase[chain] if chain < len(ascii_uppercase) else str(chain + 1)]


def print_comparison(comparison: RunComparison, letters: dict[str, str], console: Printer) -> None:
    """Print the stages of two runs: accuracies, difference with its interval, verdict.

    Args:
        comparison: of `compare_runs`.
        letters: the letter that stands for each run in the table, by the run's name.
    """
    a, b = letters[comparison.against], letters[comparison.run]
    rows: list[list[str | Text]] = []
    for name, row in comparison.stages.items():
        scores = ["" if score is None else f"{score:.4f}" for score in row.accuracies]
        interval = " to ".join(f"{end:+.4f}" for end in row.interval or ())
        difference = f"{row.difference:+.4f}" if interval else ""
        reason = row.reason or row.verdict
        for run, letter in letters.items():
            reason = reason.replace(run, letter)
        verdict = Text(printable(reason), STYLES.get(row.verdict, ""))
        rows.append([name, *scores, difference, interval, verdict])
    columns = ["stage", a, b, f"{b} - {a}", "95 % interval", "verdict"]
    console.print_table(
        lambda without: build_table(columns, rows, without, left=1, wrapped="verdict"),
        ["95 % interval", f"{b} - {a}"],
    )


def build_table(
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
