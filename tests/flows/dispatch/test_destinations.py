"""Where a stage's run goes, and what it wants of its job."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.states import Running
from prefect.utilities.callables import parameter_schema
from support.command import ROOT

from flows.dispatch.destinations import Destination, check_deployments, destination_of
from flows.dispatch.dispatched_runs import send_run
from flows.recipes.load import load_recipe
from flows.train_stage import train_stage
from tasks.vision.errors import BadInput
from tasks.vision.recipe.schema import Stage

USUAL = "train-stage/worker"
DATA = {"kind": "dataset", "uri": "x", "size": 1, "sha256": "0" * 64, "digest": "0" * 64}
TEMPLATE = json.loads((ROOT / "deployments/kubernetes/base-job-template.json").read_text())


@flow(name="experiment")
def sender() -> None:
    """Stand-in for the flow that dispatches stages."""


@pytest.fixture
def client(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SyncPrefectClient]:
    """A server with `train-stage` on the pool `big`, of Kubernetes' kind, and `small`, of processes."""
    with get_client(sync_client=True) as client:
        client.create_work_pool(
            WorkPoolCreate(name="big", type="kubernetes", base_job_template=TEMPLATE)
        )
        client.create_work_pool(WorkPoolCreate(name="small", type="process"))
        made = client.create_flow(train_stage)
        deployments = [
            client.create_deployment(
                made,
                name=pool,
                work_pool_name=pool,
                parameter_openapi_schema=parameter_schema(train_stage).model_dump(),
                enforce_parameter_schema=True,
            )
            for pool in ("big", "small")
        ]
        run = client.create_flow_run(sender, state=Running())
        monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", str(run.id))
        yield client
        for each in deployments:
            client.delete_deployment(each)
        for pool in ("big", "small"):
            client.delete_work_pool(pool)


@pytest.mark.parametrize(
    ("stage", "variables"),
    [
        (Stage(), {}),
        (Stage(gpu=0), {"gpu": 0}),
        (Stage(devices=4), {"gpu": 4}),
        (Stage(devices=2, gpu=4, memory="64Gi"), {"gpu": 4, "memory": "64Gi"}),
    ],
)
def test_job_has_what_its_stage_wants(stage: Stage, variables: dict[str, Any]) -> None:
    assert destination_of(USUAL, stage) == Destination(USUAL, None, variables)


@pytest.mark.parametrize("pool", ["big", "small"])
def test_run_goes_to_the_pool_of_its_stage(pool: str, client: SyncPrefectClient) -> None:
    stage = Stage(pool=pool, gpu=2, memory="64Gi")
    check_deployments(USUAL, [stage])

    sent = send_run(destination_of(USUAL, stage), pool, {"stage": "baseline"}, {}, 0)

    run = client.read_flow_run(sent.id)
    assert (run.work_pool_name, run.job_variables) == (pool, {"gpu": 2, "memory": "64Gi"})


def test_kubernetes_template_uses_what_a_stage_wants() -> None:
    container = TEMPLATE["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    limits = container["containers"][0]["resources"]["limits"]
    assert limits == {"memory": "{{ memory }}", "nvidia.com/gpu": "{{ gpu }}"}
    assert {"gpu", "memory"} <= TEMPLATE["variables"]["properties"].keys()


def test_pool_without_a_deployment_is_refused(client: SyncPrefectClient) -> None:
    with pytest.raises(BadInput, match="no deployment train-stage/huge; create it with `relevo "):
        check_deployments(USUAL, [Stage(pool="big"), Stage(pool="huge")])


def test_parameters_that_a_deployment_does_not_know_are_refused(client: SyncPrefectClient) -> None:
    """As where `relevo deploy` of an earlier version has created it."""
    parameters = {"stage": "baseline", "inputs": {"dataset": DATA, "new": 1}}
    with pytest.raises(BadInput, match=r"'new' was unexpected.*run `relevo deploy` with this one"):
        send_run(Destination("train-stage/small"), "new", parameters, {}, 0)


@pytest.mark.parametrize(
    "setting", ["pool=a/b", "gpu=-1", "gpu=1.5", "memory=16", "memory=lots"], ids=str
)
def test_wrong_resources_are_refused_in_one_line(setting: str) -> None:
    key, _, value = setting.partition("=")
    given = json.loads(value) if key == "gpu" else value
    with pytest.raises(BadInput, match=rf"stages\.baseline\.{key}"):
        load_recipe("digits", {f"stages.baseline.{key}": given})
