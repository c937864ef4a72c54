"""What happens to a crashed run: it is resumed, left alone, cancelled or failed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from prefect import flow, task
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas import State
from prefect.flow_engine import run_flow_sync
from prefect.states import Cancelled, Cancelling, Completed, Crashed, Failed, Running, Scheduled
from support.command import Chain

from flows.experiment import experiment
from flows.resume_crashed import resume_crashed
from tasks.runs.listing import run_names
from tasks.runs.summary import RunSummary


@flow(name="train-stage")
def stage() -> None:
    """Stand-in for the flow that a worker would run."""


@flow(name="experiment")
def sender() -> None:
    """Stand-in for the flow that dispatches stages."""


@task
def sending() -> None:
    """Stand-in for the task run by which Prefect links the two."""


@pytest.fixture
def client(server: str) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


def crashed(client: SyncPrefectClient, sent_by: State | None = None, why: str = "") -> UUID:
    """Create a stage's run that has crashed, with a sender in that state if one is given."""
    parent = None
    if sent_by:
        experiment = client.create_flow_run(sender, state=Running())
        client.set_flow_run_state(experiment.id, sent_by, force=True)
        parent = client.create_task_run(sending, experiment.id, dynamic_key=str(uuid4())).id
    run = client.create_flow_run(stage, parent_task_run_id=parent, state=Running())
    client.set_flow_run_state(run.id, Crashed(message=why), force=True)
    return run.id


def state_of(client: SyncPrefectClient, run: UUID) -> State:
    state = client.read_flow_run(run).state
    assert state
    return state


@pytest.mark.parametrize(
    ("sent_by", "wanted"),
    [
        (None, True),
        (Running(), True),
        (Scheduled(name="Resuming"), True),
        (Crashed(), True),
        (Cancelling(), False),
        (Cancelled(), False),
        (Failed(), False),
        (Completed(), False),
    ],
    ids=str,
)
def test_crashed_stage_is_resumed_only_while_its_sender_waits(
    sent_by: State | None, wanted: bool, client: SyncPrefectClient
) -> None:
    run = crashed(client, sent_by)
    done = resume_crashed(run)
    state = state_of(client, run)
    if wanted:
        assert (done, state.name) == ("resumed", "Resuming")
    else:
        assert done == "cancelled"
        assert state.is_cancelled()
        assert state.message == "the run that dispatched it has ended"


def test_run_that_crashes_a_fourth_time_fails(client: SyncPrefectClient) -> None:
    run = crashed(client)
    for _ in range(3):
        assert resume_crashed(run) == "resumed"
        assert resume_crashed(run) == "not crashed"
        client.set_flow_run_state(run, Running(), force=True)
        client.set_flow_run_state(run, Crashed(), force=True)
    assert resume_crashed(run) == "failed"
    assert "crashed 4 times" in str(state_of(client, run).message)


@pytest.mark.parametrize("beats", [True, False])
def test_run_with_a_new_heartbeat_is_left_alone(
    beats: bool, client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an outage of the server, which marks runs as crashed whose heartbeats it missed."""
    run = crashed(client, why="the heartbeat stopped; the worker may be dead")

    def wait(seconds: float) -> None:
        of = f"prefect.flow-run.{run if beats else uuid4()}"
        event = {
            "id": str(uuid4()),
            "occurred": datetime.now(UTC).isoformat(),
            "event": "prefect.flow-run.heartbeat",
            "resource": {"prefect.resource.id": of},
        }
        client.request("POST", "/events", json=[event])
        # by name, since the run's states are events of the same resource
        wanted = {"filter": {"event": {"name": [event["event"]]}, "resource": {"id": [of]}}}
        end = time.monotonic() + 300  # the server stores events in batches
        while not client.request("POST", "/events/filter", json=wanted).json()["events"]:
            assert time.monotonic() < end
            time.sleep(0.5)

    monkeypatch.setattr("flows.resume_crashed.sleep", wait)
    assert resume_crashed(run) == ("alive" if beats else "resumed")
    assert state_of(client, run).is_running() == beats


def test_experiment_that_crashed_after_publishing_is_published_once(
    chain: Chain, client: SyncPrefectClient
) -> None:
    parameters = {
        "stages": ["baseline"],
        "settings": {"stages.baseline.epochs": 3, "defaults.network.widths": [8, 16, 16]},
        "store": str(chain.store),
        "run": "only-once",
    }
    run = client.create_flow_run(experiment, parameters=parameters).id

    def attempt() -> RunSummary:
        client.set_flow_run_state(run, Scheduled(), force=True)
        summary = run_flow_sync(experiment, client.read_flow_run(run), parameters=parameters)
        assert isinstance(summary, RunSummary)
        return summary

    first, names = attempt(), run_names(str(chain.store))
    assert "only-once" in names
    # As if the worker had died before it reported the end.
    client.set_flow_run_state(run, Crashed(), force=True)
    assert attempt() == first
    assert run_names(str(chain.store)) == names
    assert state_of(client, run).is_completed()
