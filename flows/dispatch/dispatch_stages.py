"""Dispatch stages to workers: each is a flow run of `train-stage`; independent stages run in parallel.

The controls of a stage are one more run, which fills what stages leave free: a stage never waits for it. The
dispatching flow needs no TensorFlow; it polls Prefect's server.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from uuid import UUID

from prefect.client.schemas import FlowRun

from flows.dispatch.destinations import Destination, deployment_of, destination_of
from flows.dispatch.dispatched_runs import Capacity, capacity_of, dispatching, send_run
from flows.dispatch.pools import CONTROLS
from flows.parameters import StageInputs
from flows.training.machines import group_id, machines_of
from flows.training.run_context import RunContext
from flows.training.trainings import Job, Outcomes, StageFailed, Training, jobs_of, trainings_of
from tasks.runs.stage_result import StageResult
from tasks.vision.errors import BadInput
from tasks.vision.recipe.schema import Stage

DEPLOYMENT = "train-stage/worker"


def dispatch_stages(
    context: RunContext, stages: dict[str, Stage], parameters: Mapping[str, object]
) -> dict[str, StageResult]:
    """Have workers train `stages` and their controls, and return the results in the order of `stages`.

    A stage that fails stops only those that start from it. When this run fails before they all have ended, or
    is cancelled, the stages that are still running are cancelled.

    Args:
        parameters: of `train-stage`, the same for all stages: recipe, settings, seed, store.

    Raises:
        BadInput: a stage needs more machines than its pool takes runs at a time.
        StageFailed: stages failed, after all others have ended.
        Unavailable, TransportError, PrefectHTTPStatusError: the store or Prefect's server has been
            unavailable for `OUTAGE` seconds.
    """
    waiting, outcomes = trainings_of(context.recipe, stages), Outcomes()
    pools = {name: deployment_of(DEPLOYMENT, stage) for name, stage in stages.items()}
    capacities = {each: capacity_of(each, CONTROLS) for each in set(pools.values())}
    for name, stage in stages.items():
        _check_room(name, machines_of(stage), capacities[pools[name]])
    with dispatching(context.store) as runs:
        while waiting or runs.running:
            waiting = [each for each in waiting if not outcomes.leave_out(each)]
            for job in sorted(jobs_of(waiting), key=lambda job: bool(job.controls)):
                if not all(map(outcomes.can_start, job.trainings)):
                    continue
                pool = pools[job.stage]
                busy = sum(pools[each.stage] == pool for each in runs.running)
                capacity = capacities[pool]
                if job.controls and not _has_room(capacity, waiting, busy):
                    continue
                queue = capacity.queue if job.controls else None
                to = destination_of(DEPLOYMENT, stages[job.stage], queue)
                machines = _machines(job, stages)
                # Two that wait for each other's workers would never start.
                if machines > 1 and any(_machines(each, stages) > 1 for each in runs.running):
                    continue
                group = group_id(job.title, runs.attempt) if machines > 1 else None
                inputs = _inputs(context, job, outcomes, group)
                dispatch = [
                    partial(_dispatch, job, each, parameters, runs.attempt, to)
                    for each in inputs.for_machines(machines)
                ]
                if runs.send(job, job.title, *dispatch, parts=job.controls or (None,)):
                    waiting = [each for each in waiting if each not in job.trainings]
            for job, results in runs.poll():
                if isinstance(results, StageFailed):
                    outcomes.fail(job.title, results)
                else:
                    for training, result in zip(job.trainings, results, strict=True):
                        outcomes.add(training, result)
    return outcomes.by_stage(context.recipe, stages)


def _check_room(name: str, machines: int, capacity: Capacity) -> None:
    if machines > capacity.places:
        raise BadInput(
            f"stage {name}: machines = {machines}, and its work pool takes {capacity.places:g} runs at a time;"
            f" run `relevo deploy --gpus {machines}`, with as many workers, or lower machines"
        )


def _has_room(capacity: Capacity, waiting: list[Training], running: int) -> bool:
    """True if controls can start: a worker is idle, or every stage is sent and so goes before them."""
    return running < capacity.places or all(each.control for each in waiting)


def _machines(job: Job, stages: dict[str, Stage]) -> int:
    """Return the number of machines of a job; each control is trained by one."""
    return 1 if job.controls else machines_of(stages[job.stage])


def _inputs(context: RunContext, job: Job, outcomes: Outcomes, group: UUID | None) -> StageInputs:
    first, network = job.trainings[0], context.networks.get(job.stage)
    start = network if job.controls else context.start_of(first, outcomes.start_of(first))
    return StageInputs(
        controls=job.controls,
        dataset=context.data,
        start=start,
        models=context.recipe.models,
        group=group,
    )


def _dispatch(
    job: Job,
    inputs: StageInputs,
    parameters: Mapping[str, object],
    attempt: int,
    to: Destination,
) -> FlowRun:
    given = {**parameters, "stage": job.stage, "inputs": inputs.model_dump(mode="json")}
    title = f"{job.title}, machine {inputs.machine + 1}" if inputs.machine else job.title
    return send_run(to, title, given, inputs.models, attempt)
