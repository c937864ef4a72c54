"""Duration of a chain on one worker, dispatch included, against the same chain in one process.

python tests/benchmarks/fleet.py [--rounds 3] [--recipe digits]
Both use one Prefect server, on SQLite, and a fresh store for each turn. The worker of relevo-gpu runs one flow
run at a time. The first round warms up, and does not count. The first table has the flow runs of the last turn.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import httpx
from rich.table import Table
from turns import Turn, ask, show, spread

WORKER = ("worker", "--pool", "relevo-gpu", "--limit", "1")
DISPATCHED, INLINE = "one worker", "one process"


@contextmanager
def running(folder: Path, name: str, *words: str) -> Iterator[None]:
    """Run a Python module beside the turns, with a log of its own."""
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *words], cwd=folder, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def fleet(folder: Path) -> Iterator[str]:
    """Start a server and a worker; yield the server's address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    api = f"http://127.0.0.1:{port}/api"
    os.environ |= {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    with running(folder, "server", "flows", "server", "--port", port):
        end = time.monotonic() + 120
        while not answers(api):
            if time.monotonic() > end:
                raise SystemExit((folder / "server.log").read_text()[-2000:])
            time.sleep(0.5)
        os.environ["PREFECT_API_URL"] = api
        ask([sys.executable, "-m", "flows", "deploy"])
        with running(folder, "worker", "flows", *WORKER):
            yield api


def answers(api: str) -> bool:
    """True if Prefect's server is up."""
    try:
        return httpx.get(f"{api}/health").status_code == 200
    except httpx.TransportError:
        return False


def timeline(api: str, since: datetime) -> Table:
    """When each flow run that was sent since a time was claimed, ran, trained and ended, in seconds."""
    table = Table("flow run", "sent", "claimed", "running", "first task", "last task", "ended")
    sent = {"state": {"type": {"any_": ["COMPLETED"]}}, "deployment_id": {"is_null_": False}}
    runs = httpx.post(f"{api}/flow_runs/filter", json={"flow_runs": sent}).json()
    for run in sorted(runs, key=lambda run: run["start_time"]):
        if datetime.fromisoformat(run["created"]) < since:
            continue
        states = httpx.get(f"{api}/flow_run_states/", params={"flow_run_id": run["id"]}).json()
        at = {state["type"]: state["timestamp"] for state in states[::-1]}
        of_run = {"flow_runs": {"id": {"any_": [run["id"]]}}}
        tasks = httpx.post(f"{api}/task_runs/filter", json=of_run).json()
        starts = [task["start_time"] for task in tasks if task["start_time"]]
        ends = [task["end_time"] for task in tasks if task["end_time"]]
        times = [at["SCHEDULED"], at["PENDING"], at["RUNNING"], min(starts), max(ends)]
        seconds = [datetime.fromisoformat(each) - since for each in (*times, at["COMPLETED"])]
        table.add_row(run["name"], *(f"{each.total_seconds():.1f}" for each in seconds))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--recipe", default="digits")
    given = parser.parse_args()
    turns: dict[str, list[Turn]] = {INLINE: [], DISPATCHED: []}
    with tempfile.TemporaryDirectory() as name, fleet(Path(name)) as api:
        for number in range(given.rounds + 1):
            for way, dispatch in ((INLINE, "inline"), (DISPATCHED, "workers")):
                store = f"{name}/store-{number}-{dispatch}"
                run = ["run", given.recipe, "--store", store, "--dispatch", dispatch, "--json"]
                since = datetime.now(UTC)
                turn = ask([sys.executable, "-m", "flows", *run])
                if number or not given.rounds:  # the first warms up
                    turns[way].append(turn)
        show(timeline(api, since))
    digests = {
        tuple(stage["model_digest"] for stage in turn.answer["stages"].values())
        for turn in [*turns[INLINE], *turns[DISPATCHED]]
    }
    assert len(digests) == 1, "a worker gives other bits than one process"
    base = median(turn.seconds for turn in turns[INLINE])
    table = Table(f"relevo run {given.recipe} with", "seconds", "ratio")
    for way, each in turns.items():
        seconds = [turn.seconds for turn in each]
        table.add_row(way, spread(seconds), f"{median(seconds) / base:.2f}")
    show(table)


if __name__ == "__main__":
    main()
