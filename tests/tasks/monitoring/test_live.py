"""A training's progress in Prefect's UI, on a real server; and what a server that refuses costs."""

from __future__ import annotations

import base64
import io
import json
import logging
import re
import time
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from PIL import Image
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import Artifact
from support.command import Chain

import tasks.monitoring.live
from tasks.io.load import load_evaluation, load_model
from tasks.monitoring.live import live_progress
from tasks.monitoring.prefect_ui import artifact_key, show_run, show_stage
from tasks.progress import Event, emit
from tasks.runs.lookup import find_run
from tasks.runs.markdown import plain
from tasks.runs.stage_result import StageResult
from tasks.runs.summary import read_lineage
from tasks.store.opening import open_store

TASK = "train what no other test trains"  # artifacts of all tests lie on one server


def at(share: float) -> Event:
    """The event of a training after this share of its steps."""
    progress = SimpleNamespace(
        phase="all",
        epoch=1,
        epochs=2,
        share=share,
        images_per_second=10.0,
        seconds_left=1.0,
        row={},
        waiting=0.0,
    )
    return Event(TASK, detail=progress)


@flow
def trains() -> list[Any]:
    seen: list[Any] = []
    with live_progress(TASK):
        emit(Event("train another", detail=at(0.9).detail))
        for share in (0.25, 0.5):
            emit(at(share))
            seen.append(awaited(100 * share))
        emit(at(1.0))
    return seen


def awaited(percent: float) -> float | None:
    """Wait until the newest artifact shows this percentage; None after 60 s."""
    end = time.monotonic() + 60
    while not (found := artifacts()[:1]) or found[0].data != percent:
        if time.monotonic() > end:
            return None
        time.sleep(0.1)
    return percent


def artifacts() -> list[Artifact]:
    """The progress artifacts of `TASK`, the newest first."""
    key = artifact_key("progress", TASK)
    body = {"artifacts": {"key": {"any_": [key]}}, "sort": "CREATED_DESC"}
    with get_client(sync_client=True) as client:
        found = client.request("POST", "/artifacts/filter", json=body).json()
    return [Artifact.model_validate(each) for each in found]


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.monitoring.live, "EVERY", 0.05)
    monkeypatch.setattr(tasks.monitoring.live, "LAST", 120.0)


def test_progress_moves_under_one_key_and_ends_where_the_training_ends(
    server: str, often: None
) -> None:
    assert trains() == [25.0, 50.0]
    assert trains() == [25.0, 50.0]
    first, second = artifacts()
    assert (first.data, second.data) == (100.0, 100.0)
    assert first.flow_run_id != second.flow_run_id
    assert "100% of the training" in (first.description or "")


def test_a_server_that_refuses_costs_nobody_the_run(
    server: str, often: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*given: Any, **more: Any) -> None:
        raise httpx.ConnectError("refused")

    monkeypatch.setattr(tasks.monitoring.live, "create_progress_artifact", refuse)
    monkeypatch.setattr(logging.getLogger("prefect"), "propagate", True)
    with caplog.at_level(logging.WARNING, "prefect"), live_progress(TASK):
        emit(at(0.25))
        time.sleep(0.3)
        emit(at(1.0))
    assert [r.getMessage() for r in caplog.records if "artifact" in r.getMessage()] == [
        "an artifact is not shown: refused"
    ]


@flow
def shows(store: str, run: str, stage: str) -> None:
    home = open_store(store)
    refs = read_lineage(home, run)
    model, scored = refs.models[stage], refs.evaluations[stage]
    result = StageResult(
        start=None,
        state="trained",
        model=model,
        card=load_model(model, home)[0],
        evaluation=scored,
        scores=load_evaluation(scored, home)[0],
    )
    show_stage(stage, result, home)
    show_run(find_run(store, run), refs.report, home)


@flow
def shows_alone(store: str, run: str, stage: str) -> None:
    """As if the run had been of that stage only."""
    summary, home = find_run(store, run), open_store(store)
    alone = summary.model_copy(update={"stages": {stage: summary.stages[stage]}})
    show_run(alone, read_lineage(home, run).report, home)


def newest(key: str) -> dict[str, Any]:
    body = {"artifacts": {"key": {"any_": [key]}}, "sort": "CREATED_DESC"}
    with get_client(sync_client=True) as client:
        found: dict[str, Any] = client.request("POST", "/artifacts/filter", json=body).json()[0]
    return found


def pictures(page: str) -> list[Image.Image]:
    found = re.findall(r"!\[[^\]]+\]\(data:image/png;base64,([^)]+)\)", page)
    return [Image.open(io.BytesIO(base64.b64decode(each))) for each in found]


def test_a_stage_and_its_run_leave_figures_that_need_no_server(server: str, chain: Chain) -> None:
    summary = chain.first.json
    shows(str(chain.store), summary["run"], "ten_class")
    page = newest(artifact_key("figures", "ten_class"))["data"]
    assert f"{chain.store}/models/" in page
    assert [each.width for each in pictures(page)] == [720] * 3
    page = newest("relevo-run")["data"]
    handed_on = [stage for stage in summary["stages"].values() if stage["start"]]
    assert len(pictures(page)) == len(handed_on)
    accuracy = summary["stages"]["ten_class"]["metrics"]["accuracy"]
    assert re.search(rf"^\| {summary['run']} \|.* {accuracy:.4f} \|", page, re.M)
    assert "| stage | state | test accuracy | from scratch | random network | seconds |" in page
    shows_alone(str(chain.store), summary["run"], "ten_class")
    page = newest("relevo-run")["data"]
    assert "| stage | state | test accuracy | seconds |" in page
    assert f"| {plain('ten_class')} | trained | {accuracy:.4f} |" in page
    assert len(page) < 500_000


def test_a_stage_leaves_a_table_of_its_scores_with_their_intervals(
    server: str, chain: Chain
) -> None:
    summary = chain.first.json
    shows(str(chain.store), summary["run"], "ten_class")
    table = newest(artifact_key("stage", "ten_class"))
    assert str(chain.store) in table["description"]
    rows = {row["on test"]: row for row in json.loads(table["data"])}
    metrics = summary["stages"]["ten_class"]["metrics"]
    low, high = metrics["accuracy_interval"]
    assert rows["accuracy"]["value"] == f"{metrics['accuracy']:.4f}"
    assert rows["accuracy"]["95 % interval"] == f"{low:.4f} to {high:.4f}"
    for label, recall in metrics["recall"].items():
        shown = rows[f"recall of {label}"]
        low, high = map(float, shown["95 % interval"].split(" to "))
        assert shown["value"] == f"{recall:.4f}"
        assert low <= recall <= high
