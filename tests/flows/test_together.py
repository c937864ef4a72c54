"""Two runs of the same work at once, in two processes: one trains, the other waits and then hits."""

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


def start(store: Path, prefect_home: Path, server: str) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return started([*WORDS, "--store", str(store)], prefect_home, server, **pipes)


def test_one_trains_and_the_other_waits_for_it(
    prefect_home: Path, server: str, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    both = [start(store, prefect_home, server) for _ in range(2)]
    said = [process.communicate(timeout=900) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    stages = [json.loads(out)["stages"]["baseline"] for out, _ in said]
    assert sorted(stage["state"] for stage in stages) == ["cached", "trained"]
    assert stages[0]["model_digest"] == stages[1]["model_digest"]
    # Either may have prepared the data meanwhile, so only the stage's own line tells who waited for it.
    waited = [
        line for _, err in said for line in err.splitlines() if "another process is at it" in line
    ]
    assert sum(line.startswith("train baseline") for line in waited) == 1, waited


def test_who_waits_takes_over_from_one_that_was_killed(
    prefect_home: Path, server: str, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    first = start(store, prefect_home, server)
    wait_for_training(store)
    first.send_signal(signal.SIGSTOP)  # it keeps its claim, however long the other takes to begin
    second = start(store, prefect_home, server)
    assert second.stderr is not None
    for line in second.stderr:
        if "another process is at it" in line:
            break
    else:
        pytest.fail("the other did not wait")
    first.send_signal(signal.SIGKILL)
    first.communicate()
    out, err = second.communicate(timeout=900)
    assert second.returncode == 0, err
    assert json.loads(out)["stages"]["baseline"]["state"] == "resumed"
