"""The table of a sweep on a terminal: settings, validation accuracy, and what is no more than noise."""

from __future__ import annotations

from rich.text import Text

from flows.cli.printing.printer import Printer, table_of
from flows.cli.printing.tables import STYLES
from tasks.progress import counted, duration
from tasks.runs.sweeps.record import Combination, SweepSummary
from tasks.sweeps.grid import short_names, shown_value
from tasks.sweeps.words import noise_sentence
from tasks.vision.text import printable

MOST_ROWS = 30


def print_sweep(sweep: SweepSummary) -> None:
    """Print a sweep: its settings, the best first, the test score of the best, and its page."""
    console = Printer()
    runs = [run for each in sweep.combinations for run in each.runs]
    parts = [counted(len(sweep.seeds), "seed"), *([f"{sweep.folds} folds"] if sweep.folds else [])]
    console.print_line(
        f"{sweep.sweep}: stage {sweep.stage}, {counted(len(sweep.combinations), 'combination')}, "
        f"{', '.join(parts)}, {counted(len(runs), 'run')}, {duration(sweep.seconds)}"
    )
    names = short_names(list(sweep.over))
    columns = [*names, "validation", "95 % interval", "difference", "compared with the best"]
    rows = [_row(each) for each in sweep.combinations[:MOST_ROWS]]
    console.print_table(
        lambda without: table_of(columns, rows, without, left=len(names), wrapped=columns[-1]),
        ["difference", "95 % interval"],
    )
    if len(rows) < len(sweep.combinations):
        console.print(f"... and {len(sweep.combinations) - len(rows):,} more on the page")
    console.print(noise_sentence(sweep))
    low, high = sweep.chosen.interval
    console.print_line(
        f"test accuracy of the best: {sweep.chosen.accuracy:.4f} ({low:.4f} to {high:.4f}), run "
        f"{sweep.chosen.run}"
    )
    console.print_line(f"page: {sweep.page}")


def _row(each: Combination) -> list[str | Text]:
    values = [shown_value(value) for value in each.settings.values()]
    mean = "" if each.mean is None else f"{each.mean:.4f}"
    interval = " to ".join(f"{end:.4f}" for end in each.interval or ())
    difference = "" if each.difference is None else f"{each.difference:+.4f}"
    reason = next((f": {run.reason}" for run in each.runs if run.reason), "")
    style = STYLES["better"] if each.verdict == "best" else STYLES.get(each.verdict, "")
    return [*values, mean, interval, difference, Text(printable(each.verdict + reason), style)]
