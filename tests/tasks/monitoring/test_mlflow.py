"""A run in MLflow: one run with nested ones, read back from a local tracking store."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from support.command import SMALL, Chain, Outcome, Relevo

from tasks.monitoring.mlflow_registry import register
from tasks.promotion.promote import promote
from tasks.vision.trained_model import unpack

pytest.importorskip("mlflow")


@pytest.fixture(scope="module")
def tracked(
    chain: Chain, relevo: Relevo, server: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Outcome, Any]:
    """A cached run that was logged, and a client of the SQLite file that it was logged to."""
    from mlflow import MlflowClient

    folder = tmp_path_factory.mktemp("mlflow")
    shutil.copytree(chain.store, folder / "store")
    uri = f"sqlite:///{folder}/mlflow.db"
    env = {"PREFECT_API_URL": server, "MLFLOW_TRACKING_URI": uri, "PYTHONPROFILEIMPORTTIME": "1"}
    words = ["run", "digits", "--store", str(folder / "store"), "--json", *SMALL]
    return relevo(*words, cwd=folder, env=env), MlflowClient(tracking_uri=uri)


def test_a_run_and_its_stages_are_logged(tracked: tuple[Outcome, Any], chain: Chain) -> None:
    done, client = tracked
    summary = done.json
    experiment = client.get_experiment_by_name("relevo")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    whole = runs.pop(summary["run"])
    assert whole.data.params["seed"] == "0"
    assert whole.data.params["dataset"] == summary["dataset"]
    assert whole.info.status == "FINISHED"
    assert set(runs) == set(summary["stages"])
    assert runs["baseline"].data.params["epochs"] == "3"
    for name, run in runs.items():
        numbers = summary["stages"][name]
        assert run.data.tags["mlflow.parentRunId"] == whole.info.run_id
        assert run.data.params["start"] == (numbers["start"] or "scratch")
        assert run.data.params["epochs"] == str(
            {"baseline": 3}.get(name, run.data.params["epochs"])
        )
        assert run.data.metrics["test/accuracy"] == pytest.approx(numbers["metrics"]["accuracy"])
        card, _ = unpack((Path(numbers["model"]) / "model.safetensors").read_bytes(), name)
        curve = client.get_metric_history(run.info.run_id, "validation_loss")
        assert [(point.step, point.value) for point in sorted(curve, key=lambda p: p.step)] == [
            (row["epoch"], pytest.approx(row["validation_loss"])) for row in card.history
        ]
    assert "control_scratch/accuracy" in runs["transfer"].data.metrics
    assert [each.path for each in client.list_artifacts(whole.info.run_id)] == ["report.html"]


def test_a_promoted_model_has_the_alias_in_the_registry(
    tracked: tuple[Outcome, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    done, client = tracked
    store, run = done.json["store"], done.json["run"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", client.tracking_uri)
    for stage in ("baseline", "transfer", "baseline"):
        promoted = promote(store, f"latest/{stage}", "best")
        register("best", promoted.model, store)
        version = client.get_model_version_by_alias("relevo", "best")
        assert version.tags["relevo.model"] == done.json["stages"][stage]["model"]
        assert version.tags["relevo.model_digest"] == done.json["stages"][stage]["model_digest"]
        logged = client.get_run(version.run_id)
        assert (logged.data.tags["relevo.run"], logged.info.run_name) == (run, stage)
    assert len(client.search_model_versions("name = 'relevo'")) == 2


def test_logging_imports_no_tensorflow(tracked: tuple[Outcome, Any]) -> None:
    imported = {line.rpartition("|")[2].strip() for line in tracked[0].err.splitlines()}
    assert "mlflow" in imported
    assert not {"tensorflow", "keras"} & imported


def test_a_server_that_takes_nothing_costs_no_one_the_run(
    chain: Chain, relevo: Relevo, server: str, tmp_path: Path
) -> None:
    shutil.copytree(chain.store, tmp_path / "s")
    env = {"PREFECT_API_URL": server, "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    env |= {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    words = ["run", "digits", "--stage", "baseline", "--store", str(tmp_path / "s"), "--json"]
    done = relevo(*words, *SMALL, env=env)
    assert done.json["stages"]["baseline"]["state"] == "cached"
    lines = [line for line in done.err.splitlines() if line.startswith("mlflow:")]
    assert len(lines) == 1, done.err
    assert "not logged" in lines[0]
    assert "Traceback" not in done.err
    promoted = relevo("promote", "latest/baseline", "--as=best", "--store", words[5], env=env)
    assert promoted.status == 0
    lines = promoted.err.splitlines()
    assert len(lines) == 1, promoted.err
    assert lines[0].startswith("mlflow: not registered as best: ")
