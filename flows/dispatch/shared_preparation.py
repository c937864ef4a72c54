"""Have workers that are free decode images for a run that prepares a large data set."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import WorkerStatus
from prefect.deployments import run_deployment
from prefect.runtime import flow_run

from flows.dispatch.pools import GPU
from flows.parameters import RunRequest
from tasks.progress import Event, counted, emit

DEPLOYMENT = "prepare-data/worker"


def help_parameters(request: RunRequest) -> Mapping[str, object]:
    """Return the parameters of a `prepare-data` that helps to prepare a run's data set."""
    return {**request.shared(), "data": request.data, "helping": True}


def ask_for_help(request: RunRequest, pieces: int) -> None:
    """Send a run of `prepare-data` to each worker that is online, as far as there are pieces for them.

    Nothing depends on them: without them, the images are decoded all the same. They go to the workers that
    train, which have nothing to do until the data set is prepared.
    """
    with suppress(Exception), get_client(sync_client=True) as client:
        workers = client.read_workers_for_work_pool(GPU)
        free = sum(worker.status == WorkerStatus.ONLINE for worker in workers)
        asked = min(free, pieces - 1)
        for number in range(asked):
            run_deployment(
                DEPLOYMENT,
                parameters=dict(help_parameters(request)),
                timeout=0,
                idempotency_key=f"{flow_run.id}, help {number}" if flow_run.id else None,
            )
        if asked:
            emit(Event("prepare data", f"{counted(asked, 'worker')} asked to decode some of it"))
