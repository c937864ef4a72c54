"""What commands print about runs: tables that fit 80 columns, and plain text where no terminal is.

On a narrower terminal a table's least important columns go; where that isn't enough, its lines run over.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from string import ascii_uppercase
from typing import Any, Literal

from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from tasks.progress import duration
from tasks.runs.summary import RunSummary
from tasks.vision.text import printable

ENDLESS = 10_000  # columns: what reads a pipe wants a row on a line, however long

STYLES = {"better": "green", "worse": "red"}


class Output(Console):
    """Standard output. It leaves what a closed pipe means to the caller; rich would exit with 1."""

    def on_broken_pipe(self) -> None:
        """Have the caller end the command."""
        raise BrokenPipeError


class Printer(Output):
    """Standard output for what commands find; text in it comes from outside."""

    def __init__(self) -> None:
        bounded = sys.stdout.isatty() or "COLUMNS" in os.environ
        super().__init__(highlight=False, markup=False, width=None if bounded else ENDLESS)

    def render_str(self, text: str, **options: Any) -> Text:
        """A text or a table's cell; names in it come from outside."""
        return super().render_str(printable(text), **options)

    def whole(self, text: str) -> None:
        """One line, however long: a path must stay whole to be copied."""
        self.print(text, soft_wrap=True)

    def table(self, make: Callable[[Sequence[str]], Table], spare: Sequence[str]) -> Sequence[str]:
        """Print what `make` makes without those of the `spare` columns, in order, that don't fit.

        Returns:
            The columns that were left out.
        """
        for most in range(len(spare) + 1):
            table = make(spare[:most])
            needed = Measurement.get(self, self.options.update(width=ENDLESS), table).minimum
            if needed <= self.width:
                break
        usual = self.width
        self.width = max(needed, usual)  # print() takes no width beyond it
        self.print(table)
        self.width = usual
        return spare[:most]


def print_run(summary: RunSummary) -> None:
    """One run: its stages, states, scores and seconds, what its starts were worth, its report."""
    console = Printer()
    about = f"recipe {summary.recipe}, seed {summary.seed}, {summary.took}"
    console.whole(f"{summary.run}: {about}")
    controls = summary.control_kinds
    spare = ["seconds", "balanced", *controls[::-1]]
    left_out = console.table(lambda without: stage_table(summary, without), spare)
    if not set(controls) <= set(left_out):
        console.print(
            "scratch: the same network without its start, for as many epochs of all layers"
        )
        console.print(
            "(one for a head); random: the same head on a frozen random network; accuracies"
        )
    console.whole(f"report: {summary.report}")


def stage_table(summary: RunSummary, without: Sequence[str] = ()) -> Table:
    """Stages with their states and seconds, their scores, and those of their controls if there are any."""
    controls = summary.control_kinds
    rows = []
    for name, stage in summary.stages.items():
        scores: list[float | None] = [stage.metrics.accuracy, stage.metrics.balanced_accuracy]
        beside = [stage.controls.get(kind) for kind in controls]
        scores += [control.metrics.accuracy if control else None for control in beside]
        shown = ["" if score is None else f"{score:.4f}" for score in scores]
        rows.append([name, stage.state, *shown, f"{stage.seconds:,.1f}"])
    columns = ["stage", "state", "accuracy", "balanced", *controls, "seconds"]
    return _table(columns, rows, without)


def print_runs(summaries: list[RunSummary]) -> None:
    """Runs, one a row: when and what, the seed, how long it took, the accuracy of each of its stages.

    Which stages those are is said below, once for all runs that have the same; a letter tells them apart.
    """
    chains = list(dict.fromkeys(tuple(summary.stages) for summary in summaries))
    rows = []
    for summary in summaries:
        chain = chains.index(tuple(summary.stages))
        # Not 0.9972: five stages fit a terminal of 80 columns.
        scores = [
            f"{stage.metrics.accuracy:.4f}".removeprefix("0") for stage in summary.stages.values()
        ]
        cell = " ".join([*_letter(chain, chains), *scores])
        rows.append([summary.run, str(summary.seed), duration(summary.seconds), cell])
    columns = ["run", "seed", "took", "accuracy of each stage"]
    console = Printer()
    console.table(
        lambda without: _table(columns, rows, without, words=1, wrapped=columns[-1]),
        ["seed", "took"],
    )
    for i, names in enumerate(chains):
        console.print(f"{''.join(_letter(i, chains)) or 'stages'}: {', '.join(names)}")


def _letter(chain: int, chains: list[tuple[str, ...]]) -> list[str]:
    """What a chain of stages is called where there are several."""
    if len(chains) == 1:
        return []
    return [ascii_uppercase[chain] if chain < len(ascii_uppercase) else str(chain + 1)]


def print_comparison(comparison: dict[str, Any], letters: dict[str, str], console: Printer) -> None:
    """Stages of two runs: accuracies, their difference with its interval, the verdict.

    Args:
        comparison: one of those that `compare_runs` returns.
        letters: what the runs are called in the table, by their names.
    """
    a, b = letters[comparison["against"]], letters[comparison["run"]]
    rows: list[list[str | Text]] = []
    for name, row in comparison["stages"].items():
        scores = ["" if score is None else f"{score:.4f}" for score in row["accuracies"]]
        interval = " to ".join(f"{end:+.4f}" for end in row.get("interval", ()))
        difference = f"{row['difference']:+.4f}" if interval else ""
        said = row.get("reason", row["verdict"])
        for run, letter in letters.items():
            said = said.replace(run, letter)
        verdict = Text(printable(said), STYLES.get(row["verdict"], ""))
        rows.append([name, *scores, difference, interval, verdict])
    columns = ["stage", a, b, f"{b} - {a}", "95 % interval", "verdict"]
    console.table(
        lambda without: _table(columns, rows, without, words=1, wrapped="verdict"),
        ["95 % interval", f"{b} - {a}"],
    )


def _table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    without: Sequence[str],
    words: int = 2,
    wrapped: str | None = None,
) -> Table:
    """A table without lines. Its first `words` columns are words, to the left; the rest are numbers.

    One column may be `wrapped`, between words. A cell of the others is never cut: half a number would be
    another number, and a name that is copied must be whole.
    """
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    kept = [i for i, name in enumerate(columns) if name not in without]
    for i in kept:
        name = columns[i]
        if name == wrapped:
            table.add_column(name, overflow="fold")
            continue
        wide = max([cell_len(printable(str(row[i]))) for row in rows] + [cell_len(name)])
        justify: Literal["left", "right"] = "left" if i < words else "right"
        table.add_column(name, justify=justify, no_wrap=True, min_width=wide)
    for row in rows:
        table.add_row(*(row[i] for i in kept))
    return table
