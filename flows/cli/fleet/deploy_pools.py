"""Work pools and queues of `relevo deploy`, and the deployments of further pools that stages name as `pool`."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

from flows.dispatch.pools import CONTROLS, CPU, GPU
from tasks.vision.errors import BadInput
from tasks.vision.recipe.resources import POOL_NAME

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

TRAINING_FLOWS = ("train-stage", "sweep-run")
CONTROLS_PRIORITY = 2  # after the queue of stages


def check_pool_name(option: str, name: str) -> None:
    """Raise BadInput unless `name` can be that of a work pool."""
    if not re.fullmatch(POOL_NAME, name):
        raise BadInput(
            f"{option} {name!r}: expected a name of at most 60 letters, digits, spaces and _.-"
        )


def check_pool(client: SyncPrefectClient, name: str) -> None:
    """Raise BadInput if the server has no work pool of this name, unless it is one of relevo's own."""
    from prefect.exceptions import ObjectNotFound

    try:
        if name not in (CPU, GPU):
            client.read_work_pool(name)
    except ObjectNotFound:
        raise BadInput(
            f"--pool {name}: the server has no such work pool; expected {CPU}, {GPU}, or one that "
            f"`relevo deploy --pool {name!r}` creates"
        ) from None


def apply_pool(client: SyncPrefectClient, name: str, about: str, limit: int | None) -> None:
    """Create a work pool of processes, or update its description and limit."""
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectAlreadyExists

    try:
        pool = WorkPoolCreate(name=name, type="process", description=about, concurrency_limit=limit)
        client.create_work_pool(pool)
    except ObjectAlreadyExists:  # also when a starting worker has just created it
        client.update_work_pool(name, WorkPoolUpdate(description=about, concurrency_limit=limit))


def apply_queue(
    client: SyncPrefectClient, name: str, pool: str, priority: int, limit: int | None = None
) -> None:
    """Create a queue of a work pool, or update its priority and limit."""
    from prefect.exceptions import ObjectAlreadyExists

    with suppress(ObjectAlreadyExists):
        client.create_work_queue(name, work_pool_name=pool, priority=priority)
    queue = client.read_work_queue_by_name(name, work_pool_name=pool)
    client.update_work_queue(queue.id, priority=priority, concurrency_limit=limit)


def add_pool(client: SyncPrefectClient, name: str) -> list[str]:
    """Let a further pool train stages; return the names of its deployments, copies of FLOW/worker.

    A pool that exists, of whatever type, stays as it is.
    """
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists

    with suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name=name, type="process"))
    apply_queue(client, CONTROLS, name, CONTROLS_PRIORITY)
    made = []
    for flow in TRAINING_FLOWS:
        usual = client.read_deployment_by_name(f"{flow}/worker")
        client.create_deployment(
            usual.flow_id,
            name=name,
            work_pool_name=name,
            entrypoint=usual.entrypoint,
            path=usual.path,
            pull_steps=usual.pull_steps,
            tags=usual.tags,
            job_variables=usual.job_variables,
            parameter_openapi_schema=usual.parameter_openapi_schema,
            enforce_parameter_schema=usual.enforce_parameter_schema,
        )
        made.append(f"{flow}/{name}")
    return made
