"""Tables about runs, comparisons, checks of data, and aliases."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from string import ascii_uppercase
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from flows.cli.printing.printer import Printer, table_of
from tasks.progress import counted, duration
from tasks.runs.summary import RunSummary
from tasks.vision.recipe.names import is_model, is_pretrained
from tasks.vision.text import printable

if TYPE_CHECKING:
    from flows.check_data import CheckResult
    from tasks.runs.aliases.record import AliasRecord
    from tasks.runs.compare import RunComparison

STYLES = {"better": "green", "worse": "red"}


def print_run(summary: RunSummary) -> None:
    """Print a run: the states, scores and seconds of its stages and their controls, and its report."""
    console = Printer()
    about = f"recipe {summary.recipe}, seed {summary.seed}, {summary.took}"
    console.print_line(f"{summary.run}: {about}")
    controls = summary.control_kinds
    optional = ["seconds", "balanced", *controls[::-1]]
    dropped = console.print_table(lambda without: stage_table(summary, without), optional)
    if not set(controls) <= set(dropped):
        _print_legend(console, summary)
    console.print_line(f"report: {summary.report}")


def _print_legend(console: Printer, summary: RunSummary) -> None:
    """Say what the columns of controls are, for the kinds of starts that the run has."""
    console.print("scratch, sample, random: accuracy of controls, to see what the start was worth")
    starts = [stage.start for stage in summary.stages.values() if stage.controls]
    pretrained = [start for start in starts if is_pretrained(start) or is_model(start)]
    if len(pretrained) < len(starts):
        console.print(
            "scratch: the same network without its start, for as many epochs of all layers"
        )
    if pretrained:
        console.print("scratch, of a pretrained network: a small network, for one epoch")
    if "sample" in summary.control_kinds:
        console.print("sample: the same head, trained on a few hundred of the images")
        console.print("random: the same on a network with random weights")
    else:
        console.print("random: the same head on a frozen network with random weights")


def print_check(found: CheckResult) -> None:
    """Print what a check of a data set has found, and where page and table are."""
    console, size = Printer(), found.image_size
    images = counted(found.images, "image")
    console.print_line(f"{found.data}: {images} in {found.classes} classes, {size} x {size} pixels")
    rows = [[kind, f"{count:,}"] for kind, count in found.counts.items() if count]
    if rows:
        console.print(table_of(["finding", "pictures"], rows, (), left=1))
    else:
        console.print("nothing that stands out")
    for label, count in found.few.items():
        console.print_line(f"few training images: {label} {count:,}")
    if found.basis:
        how = "out of fold, on the features of" if found.basis == "out of fold" else "held out, by"
        console.print_line(f"labels: {found.judged:,} judged {how} {found.judge}")
        console.print_line(f"about {found.wrong:,} of the suspicious ones are wrong")
    else:
        console.print("labels: judged once a run has trained on this data in this store")
    if found.refused:
        console.print_line(f"a run would stop here: {found.refused}")
    console.print_line(f"page: {found.page}")
    console.print_line(f"table: {found.table}")


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
    return table_of(columns, rows, without)


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
        lambda without: table_of(columns, rows, without, left=1, wrapped=columns[-1]),
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
        lambda without: table_of(columns, rows, without, left=1, wrapped="verdict"),
        ["95 % interval", f"{b} - {a}"],
    )


def print_aliases(found: dict[str, AliasRecord]) -> None:
    """Print aliases, one per row: the model, and since when by whom."""
    rows = [[f"@{name}", str(each.model), _when(each), each.by] for name, each in found.items()]
    columns = ["alias", "model", "since", "by"]
    Printer().print_table(
        lambda without: table_of(columns, rows, without, left=4, wrapped="by"), ["by", "since"]
    )


def print_history(records: list[AliasRecord]) -> None:
    """Print the records of an alias, the oldest first, each with its reason below."""
    console = Printer()
    for each in records:
        stays = f" ({each.model} stays)" if each.candidate else ""
        what = f"{each.action} {each.candidate or each.model}{stays}"
        console.print_line(f"{each.number:>4}  {_when(each)}  {what}, by {each.by}")
        if each.why:
            console.print_line(f"      {each.why}")


def _when(record: AliasRecord) -> str:
    return f"{record.at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
