"""What becomes of a crashed run: taken up again, left alone, or ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
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
from tasks.runs.lookup import run_names


@flow(name="train-stage")
def stage() -> None:
    """Stands for the real one."""


@flow(name="experiment")
def sender() -> None:
    """Stands for the run that sends stages."""


@task
def sending() -> None:
    """Stands for the task run by which Prefect links the two."""


@pytest.fixture
def client(server: str) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


def crashed(client: SyncPrefectClient, sent_by: State | None = None, why: str = "") -> UUID:
    """A stage's run that has begun and crashed; of a sender in that state, if any."""
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
def test_a_crashed_stage_is_taken_up_only_while_its_sender_waits(
    sent_by: State | None, wanted: bool, client: SyncPrefectClient
) -> None:
    run = crashed(client, sent_by)
    said = resume_crashed(run)
    state = state_of(client, run)
    if wanted:
        assert (said, state.name) == ("resumed", "Resuming")
    else:
        assert said == "not wanted any more"
        assert state.is_cancelled()
        assert state.message == "whoever sent it has ended"


def test_one_that_has_crashed_too_often_has_failed(client: SyncPrefectClient) -> None:
    run = crashed(client)
    for _ in range(3):
        assert resume_crashed(run) == "resumed"
        assert resume_crashed(run) == "goes on already"
        client.set_flow_run_state(run, Running(), force=True)
        client.set_flow_run_state(run, Crashed(), force=True)
    assert resume_crashed(run) == "failed"
    assert "crashed 4 times" in str(state_of(client, run).message)


@pytest.mark.parametrize("beats", [True, False])
def test_a_run_whose_heart_beats_again_is_left_alone(
    beats: bool, client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after the server was away: it takes those whose heartbeats it missed for dead."""
    run = crashed(client, why="its heartbeat stopped, the worker may be dead")

    def wait(seconds: float) -> None:
        of = f"prefect.flow-run.{run if beats else uuid4()}"
        event = {
            "id": str(uuid4()),
            "occurred": datetime.now(UTC).isoformat(),
            "event": "prefect.flow-run.heartbeat",
            "resource": {"prefect.resource.id": of},
        }
        client.request("POST", "/events", json=[event])
        # by its name: the run's states are events of the same resource
        asked = {"filter": {"event": {"name": [event["event"]]}, "resource": {"id": [of]}}}
        end = time.monotonic() + 300  # the server writes events in batches
        while not client.request("POST", "/events/filter", json=asked).json()["events"]:
            assert time.monotonic() < end
            time.sleep(0.5)

    monkeypatch.setattr("flows.resume_crashed.sleep", wait)
    said = resume_crashed(run)
    assert said == ("lives" if beats else "resumed")
    assert state_of(client, run).is_running() == beats


def test_an_experiment_that_crashed_when_all_was_done_is_published_once(
    chain: Chain, client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {
        "stages": ["baseline"],
        "settings": {"stages.baseline.epochs": 3, "defaults.network.widths": [8, 16, 16]},
        "store": str(chain.store),
        "run": "only-once",
    }
    run = client.create_flow_run(experiment, parameters=given).id

    def attempt() -> dict[str, Any]:
        client.set_flow_run_state(run, Scheduled(), force=True)
        done = run_flow_sync(experiment, client.read_flow_run(run), parameters=given)
        assert isinstance(done, dict)
        return done

    with monkeypatch.context() as crash:
        crash.setattr("flows.experiment.show_run", lambda *what: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            attempt()
    names = run_names(str(chain.store))
    assert attempt()["run"] == "only-once"
    assert run_names(str(chain.store)) == names
    assert state_of(client, run).is_completed()
