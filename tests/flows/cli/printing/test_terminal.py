"""Progress and tables: at 80 columns, on narrower terminals, and without a terminal."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table
from support.command import ROOT, environment
from support.results import bare_metrics, bare_stage, bare_summary

from flows.cli.printing.printer import Printer
from flows.cli.printing.progress_bar import ProgressDisplay
from flows.cli.printing.tables import print_comparison, print_run, print_runs
from tasks.progress import Event
from tasks.runs.compare import RunComparison, StageComparison
from tasks.runs.summary import RunSummary
from tasks.vision.training.state import Progress

LONG = "train ten_class_from_transfer, scratch"
ROW = {"loss": 0.4, "accuracy": 0.9, "validation_loss": 0.5, "validation_accuracy": 0.875}


def lines_written(terminal: bool) -> list[str]:
    """The lines written for some events, without colours."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=80, highlight=False, soft_wrap=True)
    with ProgressDisplay(console) as display:
        display(Event(LONG, "begins"))
        for row in ({}, ROW):
            display(Event(LONG, detail=Progress("all", 3, 10, 0.25, 1234.0, 300.0, row)))
            time.sleep(0.3)  # bars are drawn ten times a second
        display(Event("train transfer", "begins"))
    written = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", out.getvalue())
    return [line for line in re.split("[\r\n]+", written) if line]


def test_bar_of_long_name_fits_80_columns_with_time_left() -> None:
    bars = [
        line for line in lines_written(terminal=True) if "\N{BOX DRAWINGS HEAVY HORIZONTAL}" in line
    ]
    timed = [bar for bar in bars if "images/s" in bar]
    assert len(timed) >= 2
    for bar in timed:
        assert bar.startswith(LONG)
        assert bar.endswith("1,234 images/s, 5 min left")
        assert len(bar) <= 80


def test_names_cannot_send_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    """Not in lines, not in bars, not in tables; and [brackets] stay."""
    name = "[red]\x1b[2J\nb"
    out = io.StringIO()
    with ProgressDisplay(Console(file=out, force_terminal=True, width=80)) as display:
        display(Event(name, "begins"))
        display(Event(name, detail=Progress("all", 3, 10, 0.25, 1234.0, 300.0, ROW)))
    table = Table("name")
    table.add_row(name)
    Printer().print(table)
    Printer().print_line(name)
    written = out.getvalue() + capsys.readouterr().out
    assert "\x1b[2J" not in written
    assert len(re.findall(r"\[red\]\\x1b\[2J\\nb", written)) >= 4


def test_plain_lines_are_aligned() -> None:
    lines = lines_written(terminal=False)
    assert lines == [
        f"{LONG}: begins",
        f"{LONG}: all epoch 3/10: loss 0.400, accuracy 0.900; validation loss 0.500, "
        "accuracy 0.875; 1,234 images/s, 5 min left",
        "train transfer:                         begins",
    ]


STARTED = """
import os
from flows.cli.prefect_server import server as prefect_server

prefect_server._start_server = lambda meanwhile: print("started")
prefect_server.check_server = lambda settings, **_: print(settings.api.url)
with prefect_server.quiet_prefect(say=print):
    print("DO_NOT_TRACK" in os.environ)
"""


@pytest.mark.parametrize(
    ("server", "said"),
    [("", ["starting", "started", "True"]), ("http://x/api", ["http://x/api", "False"])],
)
def test_temporary_server_is_announced_without_telemetry(
    server: str, said: list[str], prefect_home: Path
) -> None:
    there = environment(prefect_home) | {"PREFECT_API_URL": server}
    there.pop("DO_NOT_TRACK", None)
    words = [sys.executable, "-c", STARTED]
    done = subprocess.run(words, cwd=ROOT, env=there, capture_output=True, text=True)
    assert done.stdout.split() == said, done.stderr


def test_server_that_a_file_names_is_announced(prefect_home: Path, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PREFECT_API_URL=http://me:secret@x/api\n")
    words = [sys.executable, "-c", STARTED]
    env = environment(prefect_home)
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True)
    line = f"using the server at http://x/api, from {tmp_path}/.env"
    assert line in done.stdout.splitlines(), done.stderr


STAGES = ["baseline", "ten_class_from_transfer", "a_name_that_is_as_long_as_forty_columns"]


def summary() -> RunSummary:
    """A run with three stages, the last with controls."""
    metrics = bare_metrics(["a", "b"], 0.9876)
    stages = {name: bare_stage(metrics=metrics, seconds=1234.5) for name in STAGES}
    low = bare_stage(metrics=bare_metrics(["a", "b"], 0.1234))
    controls = {"scratch": low, "random": low}
    stages[STAGES[-1]] = stages[STAGES[-1]].model_copy(update={"controls": controls})
    return bare_summary("20260301-120000-000-digits", stages=stages, seconds=60.0)


@pytest.mark.parametrize("columns", [20, 40, 60])
def test_run_tables_on_narrow_terminal_have_names_states_and_accuracies(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    print_run(summary())
    output = capsys.readouterr().out
    rows = [line.split()[:3] for line in output.splitlines()]
    assert all([name, "trained", "0.9876"] in rows for name in STAGES), output
    assert "1,234.5" not in output
    assert ("random:" in output) == ("0.1234" in output)
    print_runs([summary()])
    output = capsys.readouterr().out
    assert "20260301-120000-000-digits" in output
    assert output.split().count(".9876") == 3, output


@pytest.mark.parametrize("columns", [20, 40, 60])
def test_comparison_on_narrow_terminal_has_verdicts(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    row = StageComparison(
        accuracies=(0.9, 0.95), difference=0.05, interval=(0.01, 0.09), verdict="better"
    )
    comparison = RunComparison(against="one", run="two", stages=dict.fromkeys(STAGES, row))
    print_comparison(comparison, {"one": "A", "two": "B"}, Printer())
    output = capsys.readouterr().out
    rows = [(line.split()[:3], line.split()[-1]) for line in output.splitlines()]
    assert all(([name, "0.9000", "0.9500"], "better") in rows for name in STAGES), output
