"""Workers that decode some of a large data set for the run that prepares it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.states import Running
from support.images import labelled_pngs, write_any

from flows.dispatch import shared_preparation
from flows.dispatch.shared_preparation import ask_for_help, help_parameters
from flows.parameters import RunRequest
from flows.prepare_data import prepare_data
from tasks.cache.cache import Cache
from tasks.progress import listening
from tasks.store.opening import open_store
from tasks.vision.data.shards import shards

pytestmark = pytest.mark.usefixtures("server")

SIZE, PER_SHARD = 16, 10
POOL = "helpers"  # one that no other test of the same server has
RECIPE = f"""
name = "mine"
[data]
source = "set"
image_size = {SIZE}
[stages.all_classes]
"""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of 80 pictures, which are prepared in 8 pieces."""
    monkeypatch.setattr(shards, "SHARD_BYTES", PER_SHARD * SIZE**2 * 3 + 1)
    return write_any(tmp_path / "set", labelled_pngs([""], ["a", "b"], 40))


def request(source: Path, store: Path) -> RunRequest:
    return RunRequest("digits", str(store), own_recipe=RECIPE, data=str(source))


def digest(source: Path, store: Path) -> tuple[str, list[str]]:
    """The digest of the prepared data set, and what its preparation printed."""
    lines: list[str] = []
    with listening(lambda event: lines.append(event.message)):
        own = request(source, store)
        made = prepare_data(own_recipe=RECIPE, data=own.data, store=own.store)
    return made["dataset"]["digest"], lines


def help_with(source: Path, store: Path) -> int:
    """Run the flow as a worker does that was asked for help; the pieces that it made."""
    parameters: dict[str, Any] = dict(help_parameters(request(source, store)))
    pieces: int = prepare_data(**parameters)["pieces"]
    return pieces


def test_images_that_another_process_has_decoded_are_not_decoded_again(
    source: Path, tmp_path: Path
) -> None:
    alone, _ = digest(source, tmp_path / "alone")
    assert help_with(source, tmp_path / "shared") == 8
    assert help_with(source, tmp_path / "shared") == 0
    shared, lines = digest(source, tmp_path / "shared")
    assert "80 of 80 images were decoded before" in lines
    assert shared == alone


def test_pieces_that_another_process_makes_are_left_to_it_and_waited_for(
    source: Path, tmp_path: Path
) -> None:
    alone, _ = digest(source, tmp_path / "alone")
    keys = [entry.key for entry in Cache(open_store(tmp_path / "alone")).entries()]
    pieces = [key.removeprefix("cache/").removesuffix(".json") for key in keys if "/piece-" in key]
    assert len(pieces) == 8
    found: list[tuple[str, list[str]]] = []
    with ExitStack() as others:
        for key in pieces[:2]:
            others.enter_context(open_store(tmp_path / "shared").claim(key, lambda: None))
        assert help_with(source, tmp_path / "shared") == 6
        waiting = threading.Thread(
            target=lambda: found.append(digest(source, tmp_path / "shared")), daemon=True
        )
        waiting.start()
        waiting.join(5)
        assert waiting.is_alive(), "the run waits for what the others make"
    waiting.join(60)
    ((shared, lines),) = found
    assert "waiting for images that another process decodes" in lines
    assert shared == alone


def test_two_runs_at_once_share_the_work_and_agree(source: Path, tmp_path: Path) -> None:
    alone, _ = digest(source, tmp_path / "alone")
    made: list[int] = []
    helpers = [
        threading.Thread(target=lambda: made.append(help_with(source, tmp_path / "shared")))
        for _ in range(2)
    ]
    for each in helpers:
        each.start()
    shared, _ = digest(source, tmp_path / "shared")
    for each in helpers:
        each.join()
    assert shared == alone
    assert sum(made) <= 8, "no piece is made twice"


@flow(name="experiment")
def sender() -> None:
    """Stand-in for the flow that asks for help."""


@pytest.fixture
def client(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SyncPrefectClient]:
    monkeypatch.setattr(shared_preparation, "GPU", POOL)
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        flow_id = client.create_flow(prepare_data)
        client.create_deployment(flow_id, name="worker", work_pool_name=POOL)
        yield client
        client.delete_work_pool(POOL)


def test_as_many_workers_are_asked_as_there_are_pieces_for_them(
    client: SyncPrefectClient, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = request(source, tmp_path / "store")
    for workers, pieces, expected in ((0, 9, 0), (1, 9, 1), (3, 2, 1), (3, 9, 3)):
        for number in range(workers):
            client.send_worker_heartbeat(POOL, f"machine {number}")
        run = client.create_flow_run(sender, state=Running())
        monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", str(run.id))
        for _ in range(2):  # a run that is resumed asks again
            ask_for_help(own, pieces)
        asked = asked_by(client, run)
        assert len(asked) == expected
        for each in asked:
            prepare_data.validate_parameters(each.parameters)
            assert each.parameters == help_parameters(own)


def asked_by(client: SyncPrefectClient, run: FlowRun) -> list[FlowRun]:
    """The runs that another has sent."""
    key = f"{run.id}, help "
    found = client.read_flow_runs(flow_run_filter=FlowRunFilter())
    return [each for each in found if (each.idempotency_key or "").startswith(key)]
