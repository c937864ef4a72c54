"""Dispatch stages to workers: each is a flow run of `train-stage`; independent stages run in parallel.

The dispatching flow needs no TensorFlow; it polls Prefect's server. If a worker dies, its run is marked as
crashed and the automation `relevo-resume` schedules it again; the stage fails only if that doesn't happen.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from httpx import TransportError
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas import FlowRun
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.runtime import flow_run

from flows.parameters import StageInputs
from flows.pools import CONTROLS
from flows.run_context import RunContext
from flows.trainings import Outcomes, StageFailed, Training, trainings_of
from tasks.progress import Event, emit
from tasks.runs.stage_result import StageResult, load_result
from tasks.store.base import Store, Unavailable
from tasks.store.opening import open_store
from tasks.vision.errors import BadInput
from tasks.vision.recipe.schema import Stage

DEPLOYMENT = "train-stage/worker"
POLL = 2.0  # seconds
RESUME_TIMEOUT = 180.0  # seconds within which a crashed run must be scheduled again
OUTAGE = 1800.0  # seconds for which Prefect's server or the store may be unavailable
SENDER_GONE = "the run that dispatched it has ended"
T = TypeVar("T")


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
    waiting = trainings_of(context.recipe, stages)
    stored = open_store(context.store.uri)  # without retries: it is polled, each stage in turn
    running: dict[Training, DispatchedStage] = {}
    outcomes = Outcomes()
    with get_client(sync_client=True) as client:
        attempt, queue, outages = _attempt(client), _queue_of_controls(client), OutageTolerance()
        try:
            while waiting or running:
                waiting = [each for each in waiting if not outcomes.leave_out(each)]
                for training in filter(outcomes.can_start, list(waiting)):
                    inputs = StageInputs(
                        control=training.control,
                        dataset=context.data,
                        start=context.start_of(training, outcomes.start_of(training)),
                        models=context.recipe.models,
                    )
                    waits = queue if training.control else None
                    dispatch = partial(_dispatch, training, inputs, parameters, attempt, waits)
                    if run := outages.call(dispatch):
                        waiting.remove(training)
                        running[training] = DispatchedStage(training.title, run)
                time.sleep(POLL)
                for training, stage in list(running.items()):
                    try:
                        if result := outages.call(partial(stage.poll, client, stored)):
                            outcomes.add(training, result)
                            del running[training]
                    except StageFailed as error:
                        outcomes.fail(training, error)
                        del running[training]
        except BaseException as error:
            with suppress(Exception):  # the first error is the one to report
                # When a worker shuts down, its stages continue. Prefect's server would also cancel
                # them after a cancellation, but up to 20 s later.
                if isinstance(error, Exception) or _is_cancelled(client):
                    for stage in running.values():
                        with suppress(Exception):
                            stage.cancel(client)
            raise
    return outcomes.by_stage(context.recipe, stages)


def _is_cancelled(client: SyncPrefectClient) -> bool:
    """True if this run is being cancelled."""
    state = client.read_flow_run(UUID(flow_run.id)).state if flow_run.id else None
    return state is not None and (state.is_cancelling() or state.is_cancelled())


def check_deployment() -> None:
    """Check that stages can be dispatched.

    Raises:
        BadInput: the server has no deployment `DEPLOYMENT`.
    """
    try:
        with get_client(sync_client=True) as client:
            client.read_deployment_by_name(DEPLOYMENT)
    except ObjectNotFound:
        raise BadInput(
            f"dispatch = 'workers', and the server has no deployment {DEPLOYMENT}; "
            "create it with `relevo deploy`, and start a worker"
        ) from None


def _attempt(client: SyncPrefectClient) -> int:
    """Count the earlier attempts of this run that have ended; a crashed attempt is resumed instead."""
    if not flow_run.id:
        return 0
    states = client.read_flow_run_states(UUID(flow_run.id))
    return sum(state.is_final() and not state.is_crashed() for state in states)


def _queue_of_controls(client: SyncPrefectClient) -> str | None:
    """The queue for trainings that none waits for; None in a pool that has no such queue."""
    pool = client.read_deployment_by_name(DEPLOYMENT).work_pool_name
    if pool:
        with suppress(ObjectNotFound):
            return client.read_work_queue_by_name(CONTROLS, work_pool_name=pool).name
    return None


def _dispatch(
    training: Training,
    inputs: StageInputs,
    parameters: dict[str, Any],
    attempt: int,
    queue: str | None = None,
) -> FlowRun:
    # The key makes it idempotent: a run that is resumed after a crash finds the stages that it has
    # dispatched. A run that is retried after its end would find ended ones, so the attempt counts.
    # Resumed, it may find another `latest` to start from, and what was dispatched started from that before.
    starts = "".join(f", {each.sha256}" for each in inputs.models.values())
    key = f"{flow_run.id}, {attempt}, {training.title}{starts}" if flow_run.id else None
    own = {"stage": training.stage, "inputs": inputs.model_dump(mode="json")}
    dispatched: FlowRun = run_deployment(
        DEPLOYMENT,
        parameters={**parameters, **own},
        timeout=0,
        idempotency_key=key,
        work_queue_name=queue,
    )  # type: ignore[assignment]
    emit(Event(f"train {training.title}", "sent to the workers"))
    return dispatched


class OutageTolerance:
    """Tolerates outages of Prefect's server and of the store, during which the stages train on."""

    def __init__(self) -> None:
        self._last_answer = time.monotonic()

    def call(self, request: Callable[[], T | None]) -> T | None:
        """Return what `request` returns, or None if it fails by a transient error.

        Raises:
            what `request` raises, if it is not transient or the outage has lasted for `OUTAGE` seconds.
        """
        try:
            answer = request()
        except (Unavailable, TransportError, PrefectHTTPStatusError) as error:
            if isinstance(error, PrefectHTTPStatusError) and not _is_transient(error):
                raise
            if time.monotonic() - self._last_answer > OUTAGE:
                raise
            return None
        self._last_answer = time.monotonic()
        return answer


def _is_transient(error: PrefectHTTPStatusError) -> bool:
    status = error.response.status_code
    return status >= 500 or status in {408, 429}


class DispatchedStage:
    """The flow run of a stage that was sent to the workers."""

    def __init__(self, title: str, run: FlowRun) -> None:
        self._title, self._run = title, run
        self._last_state = ""
        self._crashed_at: float | None = None

    def poll(self, client: SyncPrefectClient, store: Store) -> StageResult | None:
        """Return the run's result, or None while it runs or may still be resumed.

        Raises:
            StageFailed: it ended without a result.
        """
        self._run = client.read_flow_run(self._run.id)
        state = self._run.state
        if state is None:
            return None
        if (name := state.name or state.type.value) != self._last_state:
            self._last_state = name
            emit(Event(f"train {self._title}", name.lower()))
        if state.is_completed():
            if result := load_result(store, str(self._run.id)):
                return result
            raise StageFailed(
                f"stage {self._title}: its worker stored no result in {store.uri}; "
                "expected a --store that this machine and the workers share"
            )
        if state.is_crashed() and self._may_be_resumed():
            return None
        if not state.is_crashed():
            self._crashed_at = None
        if state.is_final():
            reason = " ".join((state.message or "no reason given").split())
            raise StageFailed(f"stage {self._title} {name.lower()}: {reason}")
        return None

    def cancel(self, client: SyncPrefectClient) -> None:
        """Have its worker stop; the training stays resumable from its checkpoint."""
        from prefect.states import Cancelled, Cancelling

        client.set_flow_run_state(self._run.id, Cancelling())
        state = client.read_flow_run(self._run.id).state
        # Prefect doesn't cancel a crashed run, which could then be resumed.
        if state and state.is_crashed():
            client.set_flow_run_state(self._run.id, Cancelled(message=SENDER_GONE), force=True)

    def _may_be_resumed(self) -> bool:
        self._crashed_at = self._crashed_at or time.monotonic()
        return time.monotonic() - self._crashed_at < RESUME_TIMEOUT
