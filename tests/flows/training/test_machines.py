"""Stages that several machines train: their flow runs, and what happens if one fails."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.states import Failed, Running
from support.command import Relevo

from flows.dispatch.dispatched_stage import DispatchedStage
from flows.parameters import StageInputs
from flows.training.trainings import StageFailed
from tasks.store.base import Ref
from tasks.store.opening import open_store

DATA = Ref(kind="dataset", uri="x", size=1, sha256="0" * 64, digest="0" * 64)


def test_a_run_in_one_process_refuses_several_machines(relevo: Relevo, tmp_path: Path) -> None:
    words = ("run", "digits", "--store", str(tmp_path), "--set", "stages.baseline.machines=2")
    done = relevo(*words)
    assert done.status == 2
    (line,) = done.err.strip().splitlines()[-1:]
    assert "machines = 2" in line
    assert "--dispatch workers" in line
    assert not [*tmp_path.iterdir()]


def test_each_machine_has_inputs_of_its_own() -> None:
    sent = StageInputs(dataset=DATA).for_machines(3)
    assert [each.machine for each in sent] == [0, 1, 2]


@flow(name="train-stage")
def stage() -> None:
    """Stand-in for the flow that a worker would run."""


def test_a_stage_fails_with_one_of_its_machines(server: str, tmp_path: Path) -> None:
    with get_client(sync_client=True) as client:
        assert isinstance(client, SyncPrefectClient)
        leader = client.create_flow_run(stage, state=Running())
        other = client.create_flow_run(stage, state=Failed(message="no such class"))
        helper = DispatchedStage("all, machine 2", other)
        sent = DispatchedStage("all", leader, helpers=[helper])
        runs = {run.id: run for run in (leader, other)}
        with pytest.raises(StageFailed, match="all, machine 2 failed: no such class"):
            sent.check(runs, open_store(tmp_path))
        sent.cancel_helpers(client)
        state = client.read_flow_run(leader.id).state
        assert state
        assert state.is_cancelling() or state.is_cancelled()
