"""Two processes run the same work at once: one trains, the other waits and then finds it cached."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest
from support.command import SMALL, started, wait_for_training

pytestmark = pytest.mark.slow

WORDS = [
    "run",
    "digits",
    "--json",
    "--stage",
    "baseline",
    *SMALL,
    "--set=stages.baseline.epochs=12",
]

WAITING = "another process is computing this; waiting for its result"


def start(store: Path, prefect_home: Path, server: str) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return started([*WORDS, "--store", str(store)], prefect_home, server, **pipes)


def test_second_run_waits_while_the_first_trains(
    prefect_home: Path, server: str, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    both = [start(store, prefect_home, server) for _ in range(2)]
    said = [process.communicate(timeout=900) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    stages = [json.loads(out)["stages"]["baseline"] for out, _ in said]
    assert sorted(stage["state"] for stage in stages) == ["cached", "trained"]
    assert stages[0]["model_digest"] == stages[1]["model_digest"]
    # Either may have waited for the data set too, so only the stage's own line counts.
    waited = [line for _, err in said for line in err.splitlines() if WAITING in line]
    assert sum(line.startswith("train baseline") for line in waited) == 1, waited


def test_waiting_run_takes_over_from_a_killed_one(
    prefect_home: Path, server: str, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    first = start(store, prefect_home, server)
    wait_for_training(store)
    first.send_signal(signal.SIGSTOP)  # it holds its lease, however long the other takes to start
    second = start(store, prefect_home, server)
    assert second.stderr is not None
    for line in second.stderr:
        if WAITING in line:
            break
    else:
        pytest.fail("the other did not wait")
    first.send_signal(signal.SIGKILL)
    first.communicate()
    out, err = second.communicate(timeout=900)
    assert second.returncode == 0, err
    assert json.loads(out)["stages"]["baseline"]["state"] == "resumed"
