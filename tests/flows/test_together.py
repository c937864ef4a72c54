"""Two processes run the same work: the one that waits takes over when the other is killed."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest
from support.command import SMALL, WAITING, started, wait_for_training

pytestmark = pytest.mark.slow


def test_waiting_run_takes_over_from_a_killed_one(
    prefect_home: Path, server: str, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    words = ["run", "digits", "--json", "--stage=baseline", *SMALL, "--store", str(store)]
    words += ["--set=stages.baseline.epochs=12"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    first = started(words, prefect_home, server, **pipes)
    wait_for_training(store)
    first.send_signal(signal.SIGSTOP)  # it holds its lease, however long the other takes to start
    second = started(words, prefect_home, server, **pipes)
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
