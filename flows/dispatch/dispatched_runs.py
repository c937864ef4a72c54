"""Child flow runs on workers: sent once each, polled through outages, cancelled with their parent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any, Generic, TypeVar
from uuid import UUID

from httpx import TransportError
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas import FlowRun
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.runtime import flow_run

from flows.dispatch.destinations import Destination, refused_parameters
from flows.dispatch.dispatched_stage import DispatchedStage
from flows.dispatch.polling import pause
from flows.training.trainings import StageFailed
from tasks.progress import Event, emit
from tasks.runs.stage_result import StageResult
from tasks.store.base import Store, Unavailable
from tasks.store.opening import open_store
from tasks.vision.recipe.from_model import StartModel

POLL = 0.5  # seconds, at least
PAGE = 200  # runs in one answer of Prefect's server
OUTAGE = 1800.0  # seconds for which Prefect's server or the store may be unavailable
T = TypeVar("T")
J = TypeVar("J")


def send_run(
    to: Destination,
    title: str,
    parameters: Mapping[str, object],
    models: Mapping[str, StartModel],
    attempt: int,
    name: str | None = None,
) -> FlowRun:
    """Dispatch a run of a deployment, once for each title and attempt of this run.

    Args:
        models: that its stages start from. name: of the run; by default its flow gives it one.

    Raises:
        BadInput: the server refuses the parameters.
    """
    # The key makes it idempotent: a run that is resumed after a crash finds the stages that it has
    # dispatched. A run that is retried after its end would find ended ones, so the attempt counts.
    # Resumed, it may find another `latest` to start from, and what was dispatched started from that before.
    starts = "".join(f", {each.sha256}" for each in models.values())
    key = f"{flow_run.id}, {attempt}, {title}{starts}" if flow_run.id else None
    try:
        dispatched: FlowRun = run_deployment(
            to.deployment,
            parameters=dict(parameters),
            timeout=0,
            idempotency_key=key,
            flow_run_name=name,
            work_queue_name=to.queue,
            job_variables=dict(to.variables),
        )  # type: ignore[assignment]
    except PrefectHTTPStatusError as error:
        raise refused_parameters(to.deployment, error) or error from None
    emit(Event(f"train {title}", "sent to the workers"))
    return dispatched


@dataclass(frozen=True)
class Capacity:
    """How many runs of a deployment's work pool can be under way, and the name of one of its queues, if any."""

    places: float
    queue: str | None = None


def capacity_of(deployment: str, queue: str) -> Capacity:
    """Return the capacity of a deployment's work pool, with the queue of that name if there is one."""
    with get_client(sync_client=True) as client:
        name = client.read_deployment_by_name(deployment).work_pool_name
        limit = client.read_work_pool(name).concurrency_limit if name else None
        places = inf if limit is None else limit
        with suppress(ObjectNotFound):
            if name:
                client.read_work_queue_by_name(queue, work_pool_name=name)
                return Capacity(places, queue)
    return Capacity(places)


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
        self._last_change = time.monotonic()

    def send(
        self,
        job: J,
        title: str,
        *dispatch: Callable[[], FlowRun],
        parts: tuple[str | None, ...] = (None,),
    ) -> bool:
        """Dispatch a run for `job`; return whether the server has taken it, which may be tried again.

        Args:
            dispatch: dispatches the run; each further one that of a machine which helps it.
            parts: what it has results of: None for a stage, else the kinds of controls.
        """
        sent = [self._outages.call(each) for each in dispatch]
        if taken := [run for run in sent if run] if all(sent) else []:
            helpers = [
                DispatchedStage(f"{title}, machine {number}", run)
                for number, run in enumerate(taken[1:], 2)
            ]
            self.running[job] = DispatchedStage(title, taken[0], parts, helpers)
            self._last_change = time.monotonic()
        return job in self.running

    def poll(self) -> Iterator[tuple[J, list[StageResult] | StageFailed]]:
        """Wait a moment, and yield what has ended since, with its results or the reason of its failure."""
        time.sleep(pause(self._last_change, POLL))
        ids = [each for run in self.running.values() for each in run.ids]
        found = self._outages.call(partial(_read_runs, self._client, ids))
        for job, run in [] if found is None else list(self.running.items()):
            assert found is not None
            try:
                results: list[StageResult] | StageFailed | None = self._outages.call(
                    partial(run.check, found, self._store)
                )
            except StageFailed as error:
                results = error
                with suppress(Exception):  # the first error is the one to report
                    run.cancel_helpers(self._client)
            if results:
                del self.running[job]
                self._last_change = time.monotonic()
                yield job, results


def _read_runs(client: SyncPrefectClient, ids: list[UUID]) -> dict[UUID, FlowRun]:
    """Return the runs by id, read by as few requests as the server allows."""
    found: dict[UUID, FlowRun] = {}
    for start in range(0, len(ids), PAGE):
        some = FlowRunFilter(id=FlowRunFilterId(any_=ids[start : start + PAGE]))
        found |= {run.id: run for run in client.read_flow_runs(flow_run_filter=some, limit=PAGE)}
    return found


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
