"""Dispatching stages to workers: idempotency, outages, order of results, cancellation."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas import FlowRun, State
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterIdempotencyKey
from prefect.exceptions import PrefectHTTPStatusError
from prefect.states import (
    Cancelled,
    Cancelling,
    Completed,
    Crashed,
    Failed,
    Running,
    Scheduled,
)
from support.results import bare_result

from flows.dispatch import dispatch_stages as dispatch
from flows.dispatch import dispatched_runs
from flows.dispatch.destinations import Destination
from flows.dispatch.dispatched_stage import DispatchedStage
from flows.parameters import StageInputs
from flows.recipes.load import load_recipe
from flows.training.run_context import RunContext
from flows.training.trainings import Job, StageFailed, Training
from tasks.progress import listening
from tasks.runs.stage_result import StageResult, save_result
from tasks.store.base import Ref, Unavailable
from tasks.store.opening import open_store

DATA = Ref(kind="dataset", uri="x", size=1, sha256="0" * 64, digest="0" * 64)


@flow(name="train-stage")
def stage() -> None:
    """Stand-in for the flow that a worker would run."""


@flow(name="experiment")
def sender() -> None:
    """Stand-in for the flow that dispatches stages."""


@pytest.fixture
def client(server: str) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        deployment = client.create_deployment(client.create_flow(stage), name="worker")
        yield client
        client.delete_deployment(deployment)


@pytest.fixture
def sender_run(client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch) -> FlowRun:
    """The run that this process is taken for."""
    run = client.create_flow_run(sender, state=Running())
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", str(run.id))
    return run


def run_of(client: SyncPrefectClient, sender_run: FlowRun, stage: str) -> UUID:
    """The id of a stage's run that the sender has dispatched."""
    key = FlowRunFilterIdempotencyKey(any_=[f"{sender_run.id}, 0, {stage}"])
    (run,) = client.read_flow_runs(flow_run_filter=FlowRunFilter(idempotency_key=key))
    return run.id


@pytest.mark.parametrize(
    ("past", "dispatched_again"),
    [
        ([Crashed()], False),
        ([Crashed(), Scheduled(name="Resuming"), Running(), Crashed()], False),
        ([Failed()], True),
        ([Cancelled()], True),
        ([Crashed(), Failed()], True),
    ],
    ids=["crashed", "crashed twice", "failed", "cancelled", "crashed too often"],
)
def test_dispatch_finds_its_stage_when_resumed_and_sends_it_again_when_retried(
    past: list[State], dispatched_again: bool, client: SyncPrefectClient, sender_run: FlowRun
) -> None:
    first = send(client)
    assert send(client).id == first.id, "idempotent within an attempt"
    for state in past:
        client.set_flow_run_state(sender_run.id, state, force=True)
    client.set_flow_run_state(sender_run.id, Scheduled(), force=True)
    client.set_flow_run_state(sender_run.id, Running(), force=True)
    again = send(client)
    assert (again.id != first.id) == dispatched_again
    assert send(client).id == again.id


def send(client: SyncPrefectClient) -> FlowRun:
    job = Job("baseline", (Training("baseline"),))
    attempt, to = dispatched_runs._attempt(client), Destination(dispatch.DEPLOYMENT)
    return dispatch._dispatch(job, StageInputs(dataset=DATA), {}, attempt, to)


def test_cancel_ends_a_crashed_stage(client: SyncPrefectClient) -> None:
    run = client.create_flow_run(stage, state=Running())
    client.set_flow_run_state(run.id, Crashed(), force=True)
    DispatchedStage("baseline", run).cancel(client)
    state = client.read_flow_run(run.id).state
    assert state
    assert state.is_cancelled()


def _status(code: int) -> PrefectHTTPStatusError:
    request = httpx.Request("GET", "http://127.0.0.1/api")
    return PrefectHTTPStatusError(
        "no", request=request, response=httpx.Response(code, request=request)
    )


ANSWERS = {
    "transient: store": Unavailable("out of order"),
    "transient: no connection": httpx.ConnectError("refused"),
    "transient: status 500": _status(500),
    "status 404": _status(404),
    "bug": ZeroDivisionError(),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_outage_is_tolerated_for_a_while(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    outages, transient = dispatched_runs.OutageTolerance(), what.startswith("transient")

    def fail() -> None:
        raise ANSWERS[what]

    if transient:
        assert outages.call(fail) is None
        assert outages.call(lambda: "answer") == "answer"
        assert outages.call(fail) is None
        monkeypatch.setattr(dispatched_runs, "OUTAGE", -1.0)
    with pytest.raises(type(ANSWERS[what])):
        outages.call(fail)


def dispatch_some(store: Path, react: Callable[[str], None], *names: str) -> dict[str, StageResult]:
    """Dispatch stages without controls; `react` gets each line of the sender and acts as the workers."""
    recipe = load_recipe("digits")
    stages = {
        name: recipe.stages[name].model_copy(update={"controls": False})
        for name in names or ("baseline", "ten_class")
    }
    with listening(lambda event: react(f"{event.task}: {event.message}")):
        return dispatch.dispatch_stages(RunContext(recipe, DATA, [], open_store(store)), stages, {})


def test_results_are_in_the_recipes_order_whichever_stage_ends_first(
    client: SyncPrefectClient,
    sender_run: FlowRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatched_runs, "POLL", 0.0)
    said: list[str] = []

    def react(line: str) -> None:
        said.append(line)
        ends = {
            "train ten_class: sent to the workers": "ten_class",
            "train ten_class: completed": "baseline",
        }
        if stage := ends.get(line):
            run = run_of(client, sender_run, stage)
            save_result(open_store(tmp_path), str(run), bare_result(start=stage))
            client.set_flow_run_state(run, Completed(), force=True)

    done = dispatch_some(tmp_path, react)
    assert said[-1] == "train baseline: completed"
    assert said.index("train ten_class: completed") < len(said) - 1
    assert {stage: result.start for stage, result in done.items()} == {
        "baseline": "baseline",
        "ten_class": "ten_class",
    }
    assert list(done) == ["baseline", "ten_class"]


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (Failed(message="out of memory"), "stage baseline failed: out of memory"),
        (
            Failed(message="Flow run encountered an exception: BadInput: stage baseline: no GPU"),
            "^stage baseline: no GPU; ",
        ),
        (Cancelled(), "stage baseline cancelled: no reason given"),
        (Completed(), "stage baseline: its worker stored no result in "),
    ],
    ids=["failed", "bad input", "cancelled", "no result"],
)
def test_failed_stage_stops_only_those_that_start_from_it(
    end: State,
    reason: str,
    client: SyncPrefectClient,
    sender_run: FlowRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatched_runs, "POLL", 0.0)
    said: list[str] = []

    def react(line: str) -> None:
        said.append(line)
        if line == "train baseline: sent to the workers":
            client.set_flow_run_state(run_of(client, sender_run, "baseline"), end, force=True)
        if line.startswith("train baseline: failed: "):
            run = run_of(client, sender_run, "ten_class")
            save_result(open_store(tmp_path), str(run), bare_result())
            client.set_flow_run_state(run, Completed(), force=True)

    with pytest.raises(StageFailed, match=reason) as caught:
        dispatch_some(tmp_path, react, "baseline", "transfer", "ten_class")
    assert "; not trained, since they start from it: transfer; " in str(caught.value)
    assert said[-1] == "train ten_class: completed"
    assert not [line for line in said if line.startswith("train transfer: ")]


@pytest.fixture
def one_place(client: SyncPrefectClient) -> Iterator[None]:
    """A pool of workers that together run one flow run at a time."""
    pool = WorkPoolCreate(name="one-place", type="process", concurrency_limit=1)
    client.create_work_pool(pool)
    client.create_work_queue("controls", work_pool_name=pool.name, priority=2)
    client.create_deployment(client.create_flow(stage), name="worker", work_pool_name=pool.name)
    yield
    client.delete_work_pool(pool.name)


@pytest.mark.usefixtures("one_place")
def test_controls_of_a_stage_are_one_run_that_takes_no_place_of_a_stage(
    client: SyncPrefectClient,
    sender_run: FlowRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatched_runs, "POLL", 0.0)
    recipe, home, sent = load_recipe("digits"), open_store(tmp_path), list[str]()

    def react(line: str) -> None:
        if not line.endswith(": sent to the workers"):
            return
        title = line.removeprefix("train ").partition(":")[0]
        sent.append(title)
        run = client.read_flow_run(run_of(client, sender_run, title))
        assert (run.work_queue_name == "controls") == title.endswith("controls")
        for kind in run.parameters["inputs"]["controls"] or [None]:
            save_result(home, str(run.id), bare_result(start=kind), kind)
        client.set_flow_run_state(run.id, Completed(), force=True)

    stages = {name: recipe.stages[name] for name in ("baseline", "transfer")}
    with listening(lambda event: react(f"{event.task}: {event.message}")):
        done = dispatch.dispatch_stages(RunContext(recipe, DATA, [], home), stages, {})

    assert sent == ["baseline", "transfer", "transfer, controls"]
    found = {kind: each.start for kind, each in done["transfer"].controls.items()}
    assert found == {"scratch": "scratch", "random": "random"}


def test_a_sender_that_fails_cancels_its_stages(
    client: SyncPrefectClient, sender_run: FlowRun, tmp_path: Path
) -> None:
    def react(line: str) -> None:
        if line == "train ten_class: sent to the workers":
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        dispatch_some(tmp_path, react)
    state = client.read_flow_run(run_of(client, sender_run, "baseline")).state
    assert state
    assert state.is_cancelling() or state.is_cancelled()


@pytest.mark.parametrize("cancelled", [False, True])
def test_signal_leaves_stages_running_unless_the_sender_is_cancelled(
    cancelled: bool,
    client: SyncPrefectClient,
    sender_run: FlowRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A sender that is resumed finds its stages; a worker that shuts down sends the same signal."""
    monkeypatch.setattr(dispatched_runs, "POLL", 0.0)

    def react(line: str) -> None:
        if line == "train ten_class: sent to the workers":
            if cancelled:
                client.set_flow_run_state(sender_run.id, Cancelling(), force=True)
            run = run_of(client, sender_run, "baseline")
            client.set_flow_run_state(run, Running(), force=True)
        if line == "train baseline: running":
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        dispatch_some(tmp_path, react)
    for stage in ("baseline", "ten_class"):
        state = client.read_flow_run(run_of(client, sender_run, stage)).state
        assert state
        assert (state.is_cancelling() or state.is_cancelled()) == cancelled
