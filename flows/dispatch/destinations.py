"""Where dispatched stages run: the deployment of their work pool, and the variables of their jobs.

Prefect takes a run's work pool from its deployment, so each further pool has deployments of its own, which
`relevo deploy --pool NAME` creates: FLOW/NAME.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

from flows.dispatch.pools import GPU
from tasks.vision.errors import BadInput
from tasks.vision.recipe.schema import Stage


@dataclass(frozen=True)
class Destination:
    """Where a dispatched run goes.

    Attributes:
        deployment: FLOW/NAME. queue: of its work pool; None for the deployment's own.
        variables: of its job; a work pool ignores those that its template lacks.
    """

    deployment: str
    queue: str | None = None
    variables: Mapping[str, str | int] = field(default_factory=dict)


def deployment_of(usual: str, stage: Stage) -> str:
    """Return the deployment that trains a stage: the usual one, FLOW/worker, or that of the stage's pool."""
    if stage.pool is None or stage.pool == GPU:
        return usual
    return f"{usual.partition('/')[0]}/{stage.pool}"


def destination_of(usual: str, stage: Stage, queue: str | None = None) -> Destination:
    """Return where a stage is trained, and what it wants of its job."""
    gpu = stage.devices if stage.gpu is None and stage.devices > 1 else stage.gpu
    found: dict[str, str | int | None] = {"gpu": gpu, "memory": stage.memory}
    variables = {name: value for name, value in found.items() if value is not None}
    return Destination(deployment_of(usual, stage), queue, variables)


def check_deployments(usual: str, stages: Iterable[Stage] = ()) -> None:
    """Check that the server has the usual deployment of a flow, and those that train these stages.

    Raises:
        BadInput: the server lacks a deployment.
    """
    with get_client(sync_client=True) as client:
        for name in sorted({deployment_of(usual, stage) for stage in stages} or {usual}):
            try:
                client.read_deployment_by_name(name)
            except ObjectNotFound:
                pool = "" if name == usual else f" --pool {name.partition('/')[2]!r}"
                raise BadInput(
                    f"dispatch = 'workers', and the server has no deployment {name}; "
                    f"create it with `relevo deploy{pool}`, and start a worker"
                ) from None


def refused_parameters(deployment: str, error: PrefectHTTPStatusError) -> BadInput | None:
    """Return the error for a run that the server refuses since its deployment is of another version."""
    if error.response.status_code != 409:
        return None
    reason = " ".join(error.response.text.split())[:300]
    return BadInput(
        f"Prefect's server refuses a run of {deployment} ({reason}); if another version of relevo has "
        "created that, run `relevo deploy` with this one"
    )
