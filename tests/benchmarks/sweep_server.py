"""How Prefect's server answers while a sweep has 1,000 runs trained by workers.

python tests/benchmarks/sweep_server.py [--runs 1000] [--at-once 50] [--postgresql]
The runs are sent, polled and collected by the sweep's own code. Threads of one process stand for the workers:
each executes runs with Prefect's engine, with one task that does nothing, and stores a result.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np
from rich.table import Table
from turns import show

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.schemas import FlowRun

    from flows.sweeps.sweep_plan import PlannedRun
    from flows.sweeps.sweep_runs import Parameters, Result, Tried

sys.path.append(str(Path(__file__).parents[1]))  # last: tests/tasks would hide tasks

SAMPLED = 0.5  # seconds between two reads
TIMEOUT = 120.0  # of a read
LIST = {"sort": "EXPECTED_START_TIME_DESC", "limit": 20}  # as the UI lists runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=50)
    parser.add_argument("--threads", type=int, default=8, help="of the process with the workers")
    parser.add_argument("--postgresql", action="store_true", help="instead of SQLite")
    parser.add_argument("--work", nargs=2, metavar=("DEPLOYMENT", "STORE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        deployment, store = given.work
        work(deployment, store, given.threads)
        return

    from support.databases import postgresql
    from support.fleet import Fleet

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database = stack.enter_context(postgresql()) if given.postgresql else None
        fleet = Fleet(folder, database)
        stack.callback(fleet.stop)
        os.environ.update(PREFECT_API_URL=fleet.api, PREFECT_HOME=str(folder / "sender"))
        measure(fleet.api, folder / "store", given.runs, given.at_once, given.threads)


def measure(api: str, store: Path, count: int, at_once: int, threads: int) -> None:
    """Send the runs, and print what became of them and how the server answered."""
    from prefect import flow
    from prefect.client.orchestration import get_client

    from flows.parameters import RunRequest
    from flows.sweeps.sweep_plan import plan_sweep
    from flows.sweeps.sweep_runs import dispatch_runs
    from tasks.runs.stage_result import StageResult
    from tasks.store.opening import open_store
    from tasks.sweeps.grid import Variation

    over = [Variation.parse("stages.ten_class.lr_scale=0.5,1")]
    plan = plan_sweep(RunRequest("digits", str(store)), over, seeds=-(-count // 2))
    with get_client(sync_client=True) as client:
        deployment = client.create_deployment(client.create_flow(no_op()), name="worker")
    here = [sys.executable, __file__, "--threads", str(threads)]
    workers = subprocess.Popen([*here, "--work", str(deployment), str(store)])
    runs, idle = _Runs(plan.runs[:count]), read_times(api, 5.0)
    ended, answers = threading.Event(), list[float]()
    reader = threading.Thread(target=lambda: answers.extend(read_times(api, None, ended)))

    @flow(name="sweep")
    def sender() -> None:
        dispatch_runs(runs, at_once, open_store(str(store)))

    started = time.monotonic()
    reader.start()
    try:
        sender()
    finally:
        ended.set()
        reader.join()
        workers.terminate()
        workers.wait()
    seconds = time.monotonic() - started
    found = [result for result in runs.ended if isinstance(result, StageResult)]
    failed = [result for result in runs.ended if not isinstance(result, StageResult)]
    for error in failed[:3]:
        print(error, file=sys.stderr)
    table = Table("what", "result")
    answered = [each for each in answers if each < TIMEOUT]
    rows = {
        "runs with a result, failed, lost": f"{len(found):,}, {len(failed):,}, "
        f"{count - len(runs.ended):,}",
        "seconds, and runs a second": f"{seconds:,.0f}, {count / seconds:.2f}",
        "a read before it, median": f"{1000 * np.median(idle):,.0f} ms",
        "a read during it, median and 95th percentile": f"{1000 * np.median(answered):,.0f} and "
        f"{1000 * np.percentile(answered, 95):,.0f} ms",
        "reads, and those without an answer": f"{len(answers):,}, {len(answers) - len(answered):,}",
        "memory of the sender": f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB",
    }
    for what, result in rows.items():
        table.add_row(what, result)
    show(table)
    if len(found) < count:
        sys.exit(1)


class _Runs:
    """Runs to send, and how they ended."""

    def __init__(self, runs: Sequence[PlannedRun]) -> None:
        from support.results import REF

        from flows.sweep_run import SweepInputs

        self._inputs, self._waiting = SweepInputs(dataset=REF), deque(runs)
        self.ended: list[object] = []

    def take(self) -> tuple[PlannedRun, Parameters] | None:
        if not self._waiting:
            return None
        return self._waiting.popleft(), {"stage": "ten_class", "inputs": self._inputs}

    def add(self, run: PlannedRun, result: Result) -> None:
        self.ended.append(result)

    def tried(self) -> Tried:
        return []


def read_times(
    api: str, seconds: float | None, ended: threading.Event | None = None
) -> list[float]:
    """Seconds that the server takes to list runs, read again and again; TIMEOUT if it doesn't answer."""
    ended, end, times = (
        ended or threading.Event(),
        time.monotonic() + (seconds or 1e9),
        list[float](),
    )
    with httpx.Client(timeout=TIMEOUT) as client:
        while not ended.is_set() and time.monotonic() < end:
            begin = time.monotonic()
            try:
                client.post(f"{api}/flow_runs/filter", json=LIST).raise_for_status()
                times.append(time.monotonic() - begin)
            except httpx.HTTPError:
                times.append(TIMEOUT)
            ended.wait(SAMPLED)
    return times


def no_op() -> Flow[..., None]:
    """Return the flow that stands for `sweep-run`."""
    from prefect import flow, task
    from prefect.runtime import flow_run
    from support.results import bare_result

    from tasks.runs.stage_result import save_result
    from tasks.store.opening import open_store

    @task(name="train")
    def nothing() -> None:
        pass

    @flow(name="sweep-run", persist_result=False)
    def sweep_run(stage: str, inputs: dict) -> None:
        nothing()
        save_result(open_store(os.environ["STORE"]), flow_run.id, bare_result())

    return sweep_run


def work(deployment: str, store: str, threads: int) -> None:
    """Execute the runs of a deployment as they come, until this process is ended."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import (
        DeploymentFilter,
        DeploymentFilterId,
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType
    from prefect.flow_engine import run_flow_sync
    from prefect.states import Pending

    os.environ["STORE"] = store
    body, taken = no_op(), set[str]()
    scheduled = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED]))
    )
    chosen = DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))

    def execute(run: FlowRun) -> None:
        try:
            with get_client(sync_client=True) as own:
                own.set_flow_run_state(run.id, Pending())
                run = own.read_flow_run(run.id)
            run_flow_sync(body, flow_run=run, parameters=run.parameters)
        except Exception as error:
            print(json.dumps({"run": run.name, "error": repr(error)[:300]}), file=sys.stderr)

    with get_client(sync_client=True) as client, ThreadPoolExecutor(threads) as pool:
        while True:
            for run in client.read_flow_runs(
                flow_run_filter=scheduled, deployment_filter=chosen, limit=200
            ):
                if str(run.id) not in taken:
                    taken.add(str(run.id))
                    pool.submit(execute, run)
            time.sleep(1)


if __name__ == "__main__":
    main()
