"""Whoever sends stages finds those that it has sent, and sends anew when it is itself tried anew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas import FlowRun, State
from prefect.states import Cancelled, Crashed, Failed, Running, Scheduled

from flows import dispatch
from flows.parameters import Given
from tasks.store import Ref


@flow(name="train-stage")
def stage() -> None:
    """Stands for the real one, which no worker runs here."""


@flow(name="experiment")
def sender() -> None:
    """Stands for the run that sends stages."""


@pytest.fixture
def client(server: str) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        deployment = client.create_deployment(client.create_flow(stage), name="worker")
        yield client
        client.delete_deployment(deployment)


@pytest.mark.parametrize(
    ("past", "anew"),
    [
        ([Crashed()], False),
        ([Crashed(), Scheduled(name="Resuming"), Running(), Crashed()], False),
        ([Failed()], True),
        ([Cancelled()], True),
        ([Crashed(), Failed()], True),
    ],
    ids=["crashed", "crashed twice", "failed", "cancelled", "crashed too often"],
)
def test_a_sender_that_goes_on_finds_its_stage_and_one_that_is_retried_sends_it_anew(
    past: list[State], anew: bool, client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = client.create_flow_run(sender, state=Running())
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", str(run.id))
    first = send(client)
    assert send(client).id == first.id, "the same attempt sends it once"
    for state in past:
        client.set_flow_run_state(run.id, state, force=True)
    client.set_flow_run_state(run.id, Scheduled(), force=True)
    client.set_flow_run_state(run.id, Running(), force=True)
    again = send(client)
    assert (again.id != first.id) == anew
    assert send(client).id == again.id


def send(client: SyncPrefectClient) -> FlowRun:
    ref: dict[str, Any] = {"kind": "dataset", "uri": "x", "size": 1}
    data = Ref(**ref, sha256="0" * 64, digest="0" * 64)
    node = dispatch.Node("baseline")
    return dispatch._send(node, Given(dataset=data), {}, dispatch._attempt(client))
