"""Dispatch stages to workers: each is a flow run of `train-stage`; independent stages run in parallel.

The dispatching flow needs no TensorFlow; it polls Prefect's server.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from prefect.client.schemas import FlowRun

from flows.dispatch.dispatched_runs import dispatching, queue_of, send_run
from flows.dispatch.pools import CONTROLS
from flows.parameters import StageInputs
from flows.training.run_context import RunContext
from flows.training.trainings import Outcomes, StageFailed, Training, trainings_of
from tasks.runs.stage_result import StageResult
from tasks.vision.recipe.schema import Stage

DEPLOYMENT = "train-stage/worker"


def dispatch_stages(
    context: RunContext, stages: dict[str, Stage], parameters: dict[str, Any]
) -> dict[str, StageResult]:
    """Have workers train `stages` and their controls, and return the results in the order of `stages`.

    A stage that fails stops only those that start from it. When this run fails before they all have ended, or
    is cancelled, the stages that are still running are cancelled.

    Args:
        parameters: of `train-stage`, the same for all stages: recipe, settings, seed, store.

    Raises:
        StageFailed: stages failed, after all others have ended.
        Unavailable, TransportError, PrefectHTTPStatusError: the store or Prefect's server has been
            unavailable for `OUTAGE` seconds.
    """
    waiting, outcomes = trainings_of(context.recipe, stages), Outcomes()
    queue = queue_of(DEPLOYMENT, CONTROLS)
    with dispatching(context.store) as runs:
        while waiting or runs.running:
            waiting = [each for each in waiting if not outcomes.leave_out(each)]
            for training in filter(outcomes.can_start, list(waiting)):
                inputs = StageInputs(
                    control=training.control,
                    dataset=context.data,
                    start=context.start_of(training, outcomes.start_of(training)),
                    models=context.recipe.models,
                )
                waits = queue if training.control else None
                dispatch = partial(_dispatch, training, inputs, parameters, runs.attempt, waits)
                if runs.send(training, training.title, dispatch):
                    waiting.remove(training)
            for training, result in runs.poll():
                if isinstance(result, StageFailed):
                    outcomes.fail(training, result)
                else:
                    outcomes.add(training, result)
    return outcomes.by_stage(context.recipe, stages)


def _dispatch(
    training: Training,
    inputs: StageInputs,
    parameters: dict[str, Any],
    attempt: int,
    queue: str | None = None,
) -> FlowRun:
    own = {"stage": training.stage, "inputs": inputs.model_dump(mode="json")}
    return send_run(
        DEPLOYMENT, training.title, {**parameters, **own}, inputs.models, attempt, queue=queue
    )
