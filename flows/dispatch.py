"""Stages sent to workers: each a flow run of `train-stage`, independent ones side by side.

Whoever sends them needs no TensorFlow and waits. A worker that dies leaves a crashed run, which the
automation `relevo-resume` schedules again; it counts as lost only when nobody takes it up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
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
from flows.train_stage import RunContext, control_name
from tasks.progress import Event, emit
from tasks.runs.stage_result import StageResult, load_result
from tasks.store.base import Store, Unavailable
from tasks.store.opening import open_store
from tasks.vision.errors import BadInput
from tasks.vision.recipe.schema import Stage

DEPLOYMENT = "train-stage/worker"
POLL = 2.0  # seconds
RESUME_TIMEOUT = 180.0  # seconds in which a crashed run is scheduled again, or never
OUTAGE = 1800.0  # seconds for which a server may be away
SENDER_GONE = "whoever sent it has ended"
T = TypeVar("T")


class StageFailed(RuntimeError):
    """A stage's own flow run did not complete."""


@dataclass(frozen=True)
class Node:
    """One training: a stage, or a control of it, and the stage that it waits for."""

    stage: str
    control: str | None = None
    waits_for: str | None = None

    @property
    def title(self) -> str:
        """Its name in logs, and among the nodes of a run."""
        return control_name(self.stage, self.control) if self.control else self.stage


def send_stages(
    context: RunContext, stages: dict[str, Stage], parameters: dict[str, Any]
) -> dict[str, StageResult]:
    """Have workers train `stages` and their controls, and return what each came to.

    Args:
        parameters: of `train-stage`, the same for all: recipe, settings, seed, store.

    Raises:
        StageFailed: a stage failed. What the server or the store raises, once it has been out of reach
        for `OUTAGE`.
        Those under way are then cancelled, as they are when this run itself is.
    """
    waiting = _nodes(context, stages)
    stored = open_store(context.store.uri)  # without retries: polled, each stage in turn
    under_way: dict[Node, _Sent] = {}
    done: dict[str, StageResult] = {}
    with get_client(sync_client=True) as client:
        attempt, well = _attempt(client), _Reach()
        try:
            while waiting or under_way:
                for node in [node for node in waiting if node.waits_for in {None, *done}]:
                    given = StageInputs(
                        control=node.control,
                        dataset=context.data,
                        start=done[node.waits_for].model if node.waits_for else None,
                    )
                    if run := well.ask(partial(_send, node, given, parameters, attempt)):
                        waiting.remove(node)
                        under_way[node] = _Sent(node.title, run)
                time.sleep(POLL)
                for node, sent in list(under_way.items()):
                    trained = well.ask(partial(sent.look, client, stored))
                    if trained:
                        done[node.title] = trained
                        del under_way[node]
        except BaseException as error:
            with suppress(Exception):  # what went wrong first is what must be told
                # A worker that shuts down leaves its stages to go on; Prefect's server would hand a
                # cancellation on too, up to 20 s later.
                if isinstance(error, Exception) or _is_cancelled(client):
                    for sent in under_way.values():
                        with suppress(Exception):
                            sent.cancel(client)
            raise
    results = {}
    for name in stages:  # not in the order in which they ended
        controls = {
            node.control: done[node.title]
            for node in _nodes(context, stages)
            if node.control and node.stage == name
        }
        results[name] = done[name].model_copy(update={"controls": controls})
    return results


def _nodes(context: RunContext, stages: dict[str, Stage]) -> list[Node]:
    nodes = [Node(name, waits_for=stage.start) for name, stage in stages.items()]
    for name, stage in stages.items():
        controls = stage.controls_of(context.recipe.network(stage))
        nodes += [Node(name, control=kind) for kind in controls]
    return nodes


def _is_cancelled(client: SyncPrefectClient) -> bool:
    """Whether this run is being cancelled; a worker that shuts down leaves its stages to go on."""
    state = client.read_flow_run(UUID(flow_run.id)).state if flow_run.id else None
    return state is not None and (state.is_cancelling() or state.is_cancelled())


def check_deployment() -> None:
    """Refuse to send stages where nobody would take them.

    Raises:
        BadInput: the server has no such deployment.
    """
    try:
        with get_client(sync_client=True) as client:
            client.read_deployment_by_name(DEPLOYMENT)
    except ObjectNotFound:
        raise BadInput(
            f"dispatch = 'workers', and the server has no deployment {DEPLOYMENT}; "
            "make it with `relevo deploy`, and start a worker"
        ) from None


def _attempt(client: SyncPrefectClient) -> int:
    """How often this run has ended before and was then retried; a crash is no end."""
    if not flow_run.id:
        return 0
    states = client.read_flow_run_states(UUID(flow_run.id))
    return sum(state.is_final() and not state.is_crashed() for state in states)


def _send(node: Node, given: StageInputs, parameters: dict[str, Any], attempt: int) -> FlowRun:
    # A sender that crashed and goes on finds the run that it has sent, instead of sending another;
    # one that is retried after its end would find a run that has ended too.
    key = f"{flow_run.id}, {attempt}, {node.title}" if flow_run.id else None
    sent: FlowRun = run_deployment(
        DEPLOYMENT,
        parameters={**parameters, "stage": node.stage, "given": given.model_dump(mode="json")},
        timeout=0,
        idempotency_key=key,
    )  # type: ignore[assignment]
    emit(Event(f"train {node.title}", "sent to the workers"))
    return sent


class _Reach:
    """Prefect's server and the store may be out of reach for a while: the stages train on meanwhile."""

    def __init__(self) -> None:
        self._well = time.monotonic()

    def ask(self, look: Callable[[], T | None]) -> T | None:
        """What `look` returns, or None while it fails by what may pass.

        Raises:
            what `look` raises, if it can't pass or has lasted for `OUTAGE`.
        """
        try:
            answer = look()
        except (Unavailable, TransportError, PrefectHTTPStatusError) as error:
            if isinstance(error, PrefectHTTPStatusError) and not _passes(error):
                raise
            if time.monotonic() - self._well > OUTAGE:
                raise
            return None
        self._well = time.monotonic()
        return answer


def _passes(error: PrefectHTTPStatusError) -> bool:
    status = error.response.status_code
    return status >= 500 or status in {408, 429}


class _Sent:
    """One stage's flow run, watched from afar."""

    def __init__(self, title: str, run: FlowRun) -> None:
        self._title, self._run = title, run
        self._last = ""
        self._crashed_at: float | None = None

    def look(self, client: SyncPrefectClient, store: Store) -> StageResult | None:
        """What the run came to, or None while it is under way.

        Raises:
            StageFailed: it ended otherwise.
        """
        self._run = client.read_flow_run(self._run.id)
        state = self._run.state
        if state is None:
            return None
        if (name := state.name or state.type.value) != self._last:
            self._last = name
            emit(Event(f"train {self._title}", name.lower()))
        if state.is_completed():
            if trained := load_result(store, str(self._run.id)):
                return trained
            raise StageFailed(
                f"stage {self._title}: its worker left no outcome in {store.uri}; "
                "give both the same --store, one that they share"
            )
        if state.is_crashed() and self._may_go_on():
            return None
        if not state.is_crashed():
            self._crashed_at = None
        if state.is_final():
            said = " ".join((state.message or "no reason given").split())
            raise StageFailed(f"stage {self._title} {name.lower()}: {said}")
        return None

    def cancel(self, client: SyncPrefectClient) -> None:
        """Ask its worker to stop; what it has learnt stays in its checkpoint."""
        from prefect.states import Cancelled, Cancelling

        client.set_flow_run_state(self._run.id, Cancelling())
        state = client.read_flow_run(self._run.id).state
        # Prefect doesn't cancel what has crashed, and somebody might take it up.
        if state and state.is_crashed():
            client.set_flow_run_state(self._run.id, Cancelled(message=SENDER_GONE), force=True)

    def _may_go_on(self) -> bool:
        """Whether somebody may still take the crashed run up."""
        self._crashed_at = self._crashed_at or time.monotonic()
        return time.monotonic() - self._crashed_at < RESUME_TIMEOUT
