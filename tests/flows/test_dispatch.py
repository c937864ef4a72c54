"""Whoever sends stages finds those that it has sent, and sends anew when it is itself tried anew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas import FlowRun, State
from prefect.exceptions import PrefectHTTPStatusError
from prefect.states import Cancelled, Crashed, Failed, Running, Scheduled
from support.results import bare_result

from flows import dispatch
from flows.parameters import StageInputs
from flows.recipes.load import load_recipe
from flows.train_stage import RunContext
from tasks.runs.stage_result import StageResult
from tasks.store.base import Ref, Unavailable
from tasks.store.opening import open_store


@flow(name="train-stage")
def stage() -> None:
    """Stands for the real one, which no worker runs here."""


@flow(name="experiment")
def sender() -> None:
    """Stands for the run that sends stages."""


@pytest.fixture
def client(server: str) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        deployment = client.create_deployment(client.create_flow(stage), name="worker")
        yield client
        client.delete_deployment(deployment)


@pytest.mark.parametrize(
    ("past", "anew"),
    [
        ([Crashed()], False),
        ([Crashed(), Scheduled(name="Resuming"), Running(), Crashed()], False),
        ([Failed()], True),
        ([Cancelled()], True),
        ([Crashed(), Failed()], True),
    ],
    ids=["crashed", "crashed twice", "failed", "cancelled", "crashed too often"],
)
def test_a_sender_that_goes_on_finds_its_stage_and_one_that_is_retried_sends_it_anew(
    past: list[State], anew: bool, client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = client.create_flow_run(sender, state=Running())
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", str(run.id))
    first = send(client)
    assert send(client).id == first.id, "the same attempt sends it once"
    for state in past:
        client.set_flow_run_state(run.id, state, force=True)
    client.set_flow_run_state(run.id, Scheduled(), force=True)
    client.set_flow_run_state(run.id, Running(), force=True)
    again = send(client)
    assert (again.id != first.id) == anew
    assert send(client).id == again.id


def send(client: SyncPrefectClient) -> FlowRun:
    ref: dict[str, Any] = {"kind": "dataset", "uri": "x", "size": 1}
    data = Ref(**ref, sha256="0" * 64, digest="0" * 64)
    node = dispatch.Node("baseline")
    return dispatch._send(node, StageInputs(dataset=data), {}, dispatch._attempt(client))


def test_a_stage_that_has_crashed_is_cancelled_with_the_others(client: SyncPrefectClient) -> None:
    run = client.create_flow_run(stage, state=Running())
    client.set_flow_run_state(run.id, Crashed(), force=True)
    dispatch._Sent("baseline", run).cancel(client)
    state = client.read_flow_run(run.id).state
    assert state
    assert state.is_cancelled()


def _status(code: int) -> PrefectHTTPStatusError:
    request = httpx.Request("GET", "http://127.0.0.1/api")
    return PrefectHTTPStatusError(
        "no", request=request, response=httpx.Response(code, request=request)
    )


ANSWERS = {
    "the store": Unavailable("out of order"),
    "the server is away": httpx.ConnectError("refused"),
    "the server is out of order": _status(500),
    "it knows no such run": _status(404),
    "a fault": ZeroDivisionError(),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_what_may_pass_is_outlasted_for_a_while(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reach, passes = dispatch._Reach(), what.startswith("the ")

    def fail() -> None:
        raise ANSWERS[what]

    if passes:
        assert reach.ask(fail) is None
        assert reach.ask(lambda: "answer") == "answer"
        assert reach.ask(fail) is None
        monkeypatch.setattr(dispatch, "OUTAGE", -1.0)
    with pytest.raises(type(ANSWERS[what])):
        reach.ask(fail)


REF = Ref.model_validate(
    {"kind": "dataset", "uri": "x", "size": 1, "sha256": "0" * 64, "digest": "0" * 64}
)


def test_stages_stand_in_the_recipes_order_whichever_ends_first(
    client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = client.create_flow_run(sender, state=Running())
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", str(run.id))
    monkeypatch.setattr(dispatch, "POLL", 0.0)
    ended: list[str] = []

    def look(self: dispatch._Sent, *_: object) -> StageResult | None:
        if self._title == "baseline" and not ended:
            return None
        ended.append(self._title)
        return bare_result()

    monkeypatch.setattr(dispatch._Sent, "look", look)
    recipe = load_recipe("digits")
    stages = {name: recipe.stages[name] for name in ("baseline", "ten_class")}
    done = dispatch.send_stages(
        RunContext(recipe, REF, [], open_store("nowhere"), False), stages, {}
    )
    assert ended == ["ten_class", "baseline"]
    assert list(done) == ["baseline", "ten_class"]


def test_whatever_ends_the_sender_ends_its_stages(
    client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for a signal: whoever goes on with the run finds them."""
    recipe = load_recipe("digits")
    run = client.create_flow_run(sender, state=Running())
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", str(run.id))
    monkeypatch.setattr(dispatch, "POLL", 0.0)
    sent: list[UUID] = []

    def look(self: dispatch._Sent, *_: object) -> None:
        sent.append(self._run.id)
        if len(set(sent)) == 2:
            raise ZeroDivisionError

    monkeypatch.setattr(dispatch._Sent, "look", look)
    setting = RunContext(recipe, REF, [], open_store("nowhere"), False)
    stages = {name: recipe.stages[name] for name in ("baseline", "ten_class")}
    with pytest.raises(ZeroDivisionError):
        dispatch.send_stages(setting, stages, {})
    for each in set(sent):
        state = client.read_flow_run(each).state
        assert state
        assert state.is_cancelling() or state.is_cancelled()
