"""A sweep's runs are sent to workers, some at a time and each once, through failures and cancellation."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas import FlowRun
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterIdempotencyKey
from prefect.runtime import flow_run
from prefect.states import Completed, Failed, Running
from support.results import REF, bare_result

from flows.dispatch import dispatched_runs
from flows.parameters import RunRequest
from flows.sweep_run import SweepInputs
from flows.sweeps import sweep_runs
from flows.sweeps.sweep_plan import PlannedRun, SweepPlan, plan_sweep
from tasks.progress import listening
from tasks.runs.stage_result import StageResult, save_result
from tasks.store.opening import open_store
from tasks.sweeps.grid import Variation


@flow(name="sweep-run")
def run() -> None:
    """Stand-in for the flow that a worker would run."""


@flow(name="sweep")
def sender() -> None:
    """Stand-in for the flow that dispatches runs."""


@pytest.fixture
def client(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SyncPrefectClient]:
    monkeypatch.setattr(dispatched_runs, "POLL", 0.0)
    with get_client(sync_client=True) as client:
        deployment = client.create_deployment(client.create_flow(run), name="worker")
        sent_by = client.create_flow_run(sender, state=Running())
        monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", str(sent_by.id))
        yield client
        client.delete_deployment(deployment)


def planned(store: Path) -> SweepPlan:
    over = [Variation.parse("stages.ten_class.lr_scale=0.5,1,2")]
    return plan_sweep(RunRequest("digits", str(store)), over, seeds=2)


def find(client: SyncPrefectClient, title: str) -> FlowRun:
    """The run that this process has sent, by its title."""
    key = FlowRunFilterIdempotencyKey(any_=[f"{flow_run.id}, 0, {title}"])
    (found,) = client.read_flow_runs(flow_run_filter=FlowRunFilter(idempotency_key=key))
    assert found.name == title
    return found


def dispatch(
    plan: SweepPlan, store: Path, react: Callable[[str, str], None], at_once: int
) -> dict[str, sweep_runs.Result]:
    """Dispatch a sweep's runs; `react` gets each line of the sender and acts as the workers."""
    runs = Waiting(plan)
    with listening(lambda event: react(event.task, event.message)):
        sweep_runs.dispatch_runs(runs, at_once, open_store(store))
    return runs.ended


class Waiting:
    """The runs of a plan, on a data set that is not there; the last is known once another has ended."""

    def __init__(self, plan: SweepPlan) -> None:
        self._stage, self._runs = plan.stage, deque(plan.runs)
        self.ended: dict[str, sweep_runs.Result] = {}

    def take(self) -> tuple[PlannedRun, sweep_runs.Parameters] | None:
        if not self._runs or (len(self._runs) == 1 and not self.ended):
            return None
        parameters: sweep_runs.Parameters = {
            "stage": self._stage,
            "inputs": SweepInputs(dataset=REF),
        }
        return self._runs.popleft(), parameters

    def add(self, run: PlannedRun, result: sweep_runs.Result) -> None:
        self.ended[run.title] = result

    def tried(self) -> sweep_runs.Tried:
        return []


def test_runs_are_under_way_some_at_a_time_and_a_failure_stops_no_other(
    client: SyncPrefectClient, tmp_path: Path
) -> None:
    plan, waiting, most = planned(tmp_path), set[str](), 0
    titles = [each.title for each in plan.runs]
    assert titles[0] == "ten_class, lr_scale = 0.5, seed 0"
    assert titles[-1] == "ten_class, lr_scale = 2, seed 1"

    def react(task: str, message: str) -> None:
        nonlocal most
        title = task.removeprefix("train ")
        if message == "sent to the workers":
            waiting.add(title)
            most = max(most, len(waiting))
        elif message in ("completed", "failed"):
            waiting.discard(title)
        if message == "sent to the workers":
            sent = find(client, title)
            if title == titles[1]:
                client.set_flow_run_state(sent.id, Failed(message="out of memory"), force=True)
            else:
                save_result(open_store(tmp_path), str(sent.id), bare_result())
                client.set_flow_run_state(sent.id, Completed(), force=True)

    ended = dispatch(plan, tmp_path, react, at_once=2)
    assert most == 2
    assert set(ended) == set(titles)
    assert "out of memory" in str(ended.pop(titles[1]))
    assert all(isinstance(each, StageResult) for each in ended.values())


def test_a_sweep_that_fails_cancels_its_runs(client: SyncPrefectClient, tmp_path: Path) -> None:
    plan = planned(tmp_path)

    def react(task: str, message: str) -> None:
        if task.endswith("lr_scale = 2, seed 0") and message == "sent to the workers":
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        dispatch(plan, tmp_path, react, at_once=3)
    state = find(client, plan.runs[0].title).state
    assert state
    assert state.is_cancelling() or state.is_cancelled()
