"""What commands print about runs: tables that fit 80 columns, and plain text where no terminal is."""

from __future__ import annotations

import os
import sys
from string import ascii_uppercase
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tasks.progress import duration
from tasks.vision.files import shown

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
        return super().render_str(shown(text), **options)

    def whole(self, text: str) -> None:
        """One line, however long: a path must stay whole to be copied."""
        self.print(text, soft_wrap=True)


def print_run(summary: dict[str, Any]) -> None:
    """One run: its stages, states, scores and seconds, what its starts were worth, its report."""
    console = Printer()
    seed = f", seed {summary['seed']}" if "seed" in summary else ""
    console.whole(
        f"{summary['run']}: recipe {summary['recipe']}{seed}, {duration(summary['seconds'])}, "
        f"on {'a GPU' if summary['device'] == 'gpu' else 'a processor'}"
    )
    console.print(stage_table(summary["stages"]))
    if _controls(summary["stages"]):
        console.print(
            "scratch: the same network without its start, for as many epochs of all layers"
        )
        console.print(
            "(one for a head); random: the same head on a frozen random network; accuracies"
        )
    console.whole(f"report: {summary['report']}")


def stage_table(stages: dict[str, dict[str, Any]]) -> Table:
    """Stages with their states and seconds, their scores, and those of their controls if there are any."""
    controls = _controls(stages)
    table = _table("stage", "state", "accuracy", "balanced", *controls, "seconds")
    for name, stage in stages.items():
        scores = [stage["metrics"]["accuracy"], stage["metrics"]["balanced_accuracy"]]
        beside = [stage.get("controls", {}).get(kind) for kind in controls]
        scores += [control and control["metrics"]["accuracy"] for control in beside]
        shown = ["" if score is None else f"{score:.4f}" for score in scores]
        table.add_row(name, stage["state"], *shown, f"{stage['seconds']:,.1f}")
    return table


def _controls(stages: dict[str, dict[str, Any]]) -> list[str]:
    """The kinds of controls that some stage has, in their usual order."""
    return list(
        dict.fromkeys(kind for stage in stages.values() for kind in stage.get("controls", {}))
    )


def print_runs(summaries: list[dict[str, Any]]) -> None:
    """Runs, one a row: when and what, the seed, how long it took, the accuracy of each of its stages.

    Which stages those are is said below, once for all runs that have the same; a letter tells them apart.
    """
    chains = list(dict.fromkeys(tuple(summary["stages"]) for summary in summaries))
    table = _table("run", "seed", "took", words=1)
    table.columns[0].no_wrap = True  # a name that is copied must be whole
    table.add_column("accuracy of each stage", overflow="fold")
    for summary in summaries:
        chain = chains.index(tuple(summary["stages"]))
        # Not 0.9972: five stages fit a terminal of 80 columns.
        scores = [
            f"{stage['metrics']['accuracy']:.4f}".removeprefix("0")
            for stage in summary["stages"].values()
        ]
        cell = " ".join([*_letter(chain, chains), *scores])
        table.add_row(summary["run"], str(summary["seed"]), duration(summary["seconds"]), cell)
    console = Printer()
    console.print(table)
    for i, names in enumerate(chains):
        console.print(f"{''.join(_letter(i, chains)) or 'stages'}: {', '.join(names)}")


def _letter(chain: int, chains: list[tuple[str, ...]]) -> list[str]:
    """What a chain of stages is called where there are several."""
    if len(chains) == 1:
        return []
    return [ascii_uppercase[chain] if chain < len(ascii_uppercase) else str(chain + 1)]


def comparison_table(comparison: dict[str, Any], letters: dict[str, str]) -> Table:
    """Stages of two runs: accuracies, their difference with its interval, the verdict.

    Args:
        comparison: one of those that `compare_runs` returns.
        letters: what the runs are called in the table, by their names.
    """
    a, b = letters[comparison["against"]], letters[comparison["run"]]
    table = _table("stage", a, b, f"{b} - {a}", "95 % interval", words=1)
    table.add_column("verdict", overflow="fold")
    for name, row in comparison["stages"].items():
        scores = ["" if score is None else f"{score:.4f}" for score in row["accuracies"]]
        interval = " to ".join(f"{end:+.4f}" for end in row.get("interval", ()))
        difference = f"{row['difference']:+.4f}" if interval else ""
        said = row.get("reason", row["verdict"])
        for run, letter in letters.items():
            said = said.replace(run, letter)
        verdict = Text(shown(said), STYLES.get(row["verdict"], ""))
        table.add_row(name, *scores, difference, interval, verdict)
    return table


def _table(*columns: str, words: int = 2) -> Table:
    """A table without lines. Its first `words` columns are words, to the left; the rest are numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for i, name in enumerate(columns):
        # Names are folded where they must be; half a number would be another number.
        left = i < words
        table.add_column(
            name,
            justify="left" if left else "right",
            overflow="fold",
            no_wrap=not left,
            min_width=12 if not i else None,
        )
    return table
