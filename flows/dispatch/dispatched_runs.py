"""Child flow runs on workers: sent once each, polled through outages, cancelled with their parent.

If a worker dies, its run is marked as crashed and the automation `relevo-resume` (deployments/automations)
schedules it again; it fails if that doesn't happen in time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Generic, TypeVar
from uuid import UUID

from httpx import TransportError
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas import FlowRun
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.runtime import flow_run

from flows.training.trainings import StageFailed
from tasks.progress import Event, emit
from tasks.runs.stage_result import StageResult, load_result
from tasks.store.base import Store, Unavailable
from tasks.store.opening import open_store
from tasks.vision.errors import BadInput
from tasks.vision.recipe.from_model import StartModel

POLL = 2.0  # seconds
RESUME_TIMEOUT = 180.0  # seconds within which a crashed run must be scheduled again
OUTAGE = 1800.0  # seconds for which Prefect's server or the store may be unavailable
SENDER_GONE = "the run that dispatched it has ended"
T = TypeVar("T")
J = TypeVar("J")


def check_deployment(name: str) -> None:
    """Check that runs of a deployment can be dispatched.

    Raises:
        BadInput: the server has no such deployment.
    """
    try:
        with get_client(sync_client=True) as client:
            client.read_deployment_by_name(name)
    except ObjectNotFound:
        raise BadInput(
            f"dispatch = 'workers', and the server has no deployment {name}; "
            "create it with `relevo deploy`, and start a worker"
        ) from None


def send_run(
    deployment: str,
    title: str,
    parameters: Mapping[str, object],
    models: Mapping[str, StartModel],
    attempt: int,
    name: str | None = None,
    queue: str | None = None,
) -> FlowRun:
    """Dispatch a run of a deployment, once for each title and attempt of this run.

    Args:
        models: that its stages start from. name: of the run; by default its flow gives it one.
        queue: of its work pool; the deployment's by default.
    """
    # The key makes it idempotent: a run that is resumed after a crash finds the stages that it has
    # dispatched. A run that is retried after its end would find ended ones, so the attempt counts.
    # Resumed, it may find another `latest` to start from, and what was dispatched started from that before.
    starts = "".join(f", {each.sha256}" for each in models.values())
    key = f"{flow_run.id}, {attempt}, {title}{starts}" if flow_run.id else None
    dispatched: FlowRun = run_deployment(
        deployment,
        parameters=dict(parameters),
        timeout=0,
        idempotency_key=key,
        flow_run_name=name,
        work_queue_name=queue,
    )  # type: ignore[assignment]
    emit(Event(f"train {title}", "sent to the workers"))
    return dispatched


def queue_of(deployment: str, name: str) -> str | None:
    """Return the name of a queue of a deployment's work pool; None if there is none of that name."""
    with get_client(sync_client=True) as client, suppress(ObjectNotFound):
        pool = client.read_deployment_by_name(deployment).work_pool_name
        if pool:
            return client.read_work_queue_by_name(name, work_pool_name=pool).name
    return None


@contextmanager
def dispatching(store: Store) -> Iterator[DispatchedRuns[Any]]:
    """Dispatch runs that store their results in `store`, and cancel those under way if this fails."""
    with get_client(sync_client=True) as client:
        # Opened again without retries: it is polled, each run in turn.
        runs = DispatchedRuns[Any](client, open_store(store.uri))
        try:
            yield runs
        except BaseException as error:
            with suppress(Exception):  # the first error is the one to report
                # When a worker shuts down, its stages continue. Prefect's server would also cancel
                # them after a cancellation, but up to 20 s later.
                if isinstance(error, Exception) or _is_cancelled(client):
                    for run in runs.running.values():
                        with suppress(Exception):
                            run.cancel(client)
            raise


class DispatchedRuns(Generic[J]):
    """The flow runs that are under way for this one, by what they do.

    Attributes:
        attempt: how many attempts of this run have ended before, for idempotency keys.
    """

    def __init__(self, client: SyncPrefectClient, store: Store) -> None:
        self.running: dict[J, DispatchedStage] = {}
        self.attempt = _attempt(client)
        self._client, self._store, self._outages = client, store, OutageTolerance()

    def send(self, job: J, title: str, dispatch: Callable[[], FlowRun]) -> bool:
        """Dispatch a run for `job`; return whether the server has taken it, which may be tried again."""
        if run := self._outages.call(dispatch):
            self.running[job] = DispatchedStage(title, run)
        return job in self.running

    def poll(self) -> Iterator[tuple[J, StageResult | StageFailed]]:
        """Wait a moment, and yield what has ended since, with its result or the reason of its failure."""
        time.sleep(POLL)
        for job, run in list(self.running.items()):
            try:
                result: StageResult | StageFailed | None = self._outages.call(
                    partial(run.poll, self._client, self._store)
                )
            except StageFailed as error:
                result = error
            if result:
                del self.running[job]
                yield job, result


def _is_cancelled(client: SyncPrefectClient) -> bool:
    """True if this run is being cancelled."""
    state = client.read_flow_run(UUID(flow_run.id)).state if flow_run.id else None
    return state is not None and (state.is_cancelling() or state.is_cancelled())


def _attempt(client: SyncPrefectClient) -> int:
    """Count the earlier attempts of this run that have ended; a crashed attempt is resumed instead."""
    if not flow_run.id:
        return 0
    states = client.read_flow_run_states(UUID(flow_run.id))
    return sum(state.is_final() and not state.is_crashed() for state in states)


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
