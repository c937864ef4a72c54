"""Run the command line in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

# A chain small enough for a test: the digits recipe with narrow networks and few epochs.
SMALL = [
    "--set=defaults.network.widths=[8, 16, 16]",
    "--set=stages.transfer.epochs=10",
    "--set=stages.ten_class_from_baseline.epochs=10",
    "--set=stages.ten_class_from_transfer.head_epochs=10",
    "--set=stages.baseline.epochs=3",
    "--set=stages.ten_class.epochs=3",
    "--set=stages.ten_class_from_transfer.epochs=2",
    "--set=stages.ten_class_from_baseline.controls=false",  # transfer has controls
    "--set=stages.ten_class_from_transfer.controls=false",
]

# A line of a run that another process makes wait.
WAITING = "another process is computing this; waiting for its result"


@dataclass
class Outcome:
    """Status and output of a finished command."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Standard output, which must be exactly one JSON object."""
        assert self.status == 0, self.err
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value


Relevo = Callable[..., Outcome]


def run_in_new_python(words: Sequence[str], environment: dict[str, str], cwd: Path) -> Outcome:
    """Run the command line in a new interpreter, as a user does."""
    done = subprocess.run(
        [sys.executable, "-m", "flows", *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
        timeout=1500,  # eight at once on a slow machine
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


# Runs many commands in one process, each with a store of its own.
SEQUENCE = """
import json, os, sys

from flows.launcher import find_own_modules

find_own_modules()
from flows.cli.environment import set_up_process

set_up_process()
from flows.cli.app import status_of

answer, outcomes, names = os.fdopen(os.dup(1), "w"), [], sys.argv[1:]
for store, words in json.load(sys.stdin):
    os.environ["RELEVO_STORE"] = store
    for number, name in enumerate(names, 1):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    status = status_of(words)
    sys.stdout.flush(), sys.stderr.flush()
    outcomes.append((status, *(open(name).read() for name in names)))
json.dump(outcomes, answer)
answer.close()
"""


def in_one_process(
    commands: dict[str, list[str]], folder: Path, home: Path, **env: str
) -> dict[str, Outcome]:
    """Outcomes of commands that are refused, each with the store `folder`/CASE; a start takes seconds."""
    listed = [(str(folder / case / "store"), words) for case, words in commands.items()]
    done = subprocess.run(
        [sys.executable, "-c", SEQUENCE, str(folder / "out"), str(folder / "err")],
        input=json.dumps(listed),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**environment(home), **env},
    )
    assert done.returncode == 0, done.stderr
    outcomes = [Outcome(*each) for each in json.loads(done.stdout)]
    return dict(zip(commands, outcomes, strict=True))


def started(
    words: Sequence[str], prefect_home: Path, server: str | None = None, **options: Any
) -> subprocess.Popen[str]:
    """Start the command line in the background; without a server it starts its own."""
    there = {"PREFECT_API_URL": server} if server else {}
    return subprocess.Popen(
        [sys.executable, "-m", "flows", *words],
        text=True,
        cwd=ROOT,
        env={**environment(prefect_home), **there},
        **options,
    )


def wait_for_training(store: Path) -> None:
    """Wait until a stage has a checkpoint."""
    end = time.monotonic() + 600
    while not any((store / "checkpoints").glob("train-*")):
        assert time.monotonic() < end
        time.sleep(0.02)


def environment(prefect_home: Path) -> dict[str, str]:
    """This process' environment without the developer's server and store."""
    personal = ("PREFECT_", "RELEVO_", "AWS_", "MLFLOW_")
    rest = {name: value for name, value in os.environ.items() if not name.startswith(personal)}
    patience = {
        "PREFECT_API_REQUEST_TIMEOUT": "300",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "600",
    }
    return {**rest, **patience, "PREFECT_HOME": str(prefect_home), "PYTHONPATH": str(ROOT)}


@dataclass
class Chain:
    """The small chain's store, and the output of its three runs, the third one with a Spanish report."""

    store: Path
    first: Outcome
    second: Outcome
    spanish: Outcome
