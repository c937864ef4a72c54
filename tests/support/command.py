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
