"""What an MLflow tracking server is told of a run, where MLFLOW_TRACKING_URI names one.

A run of relevo is a run there, and each of its stages one nested in it. Needs the extra `mlflow`.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from tasks.io.load import load_model
from tasks.progress import Event, emit
from tasks.runs.stage_result import StageResult
from tasks.store.addresses import without_secrets
from tasks.store.opening import open_store
from tasks.vision.recipe.recipe import Recipe
from tasks.vision.recipe.schema import Stage

EXPERIMENT = "relevo"  # MLFLOW_EXPERIMENT_NAME names another
PER_CALL = 1000  # metrics: a limit of MLflow's own
DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # its own 7 keep a finished run waiting for minutes
}


def track(
    summary: dict[str, Any],
    plan: Recipe,
    done: dict[str, StageResult],
    store: str,
    started: datetime,
) -> None:
    """Log a finished run; a server that doesn't take it, or a missing package, costs no one the run.

    Args:
        summary: what `relevo run --json` prints. done: its stages by name.
    """
    address = os.environ.get("MLFLOW_TRACKING_URI")
    if not address:
        return
    if importlib.util.find_spec("mlflow") is None:
        emit(
            Event("mlflow", "not logged: MLFLOW_TRACKING_URI is set; pip install 'relevo[mlflow]'")
        )
        return
    try:
        _log(address, summary, plan, done, store, int(started.timestamp() * 1000))
    except Exception as error:  # of any of the libraries that mlflow speaks to a server with
        line = without_secrets(" ".join(str(error).split()))[:300]
        emit(Event("mlflow", f"not logged: {line or type(error).__name__}"))


def _log(
    address: str,
    summary: dict[str, Any],
    plan: Recipe,
    done: dict[str, StageResult],
    store: str,
    started: int,
) -> None:
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    client = MlflowClient(tracking_uri=address)
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
    found = client.get_experiment_by_name(name)
    experiment = found.experiment_id if found else client.create_experiment(name)

    def begin(title: str, parent: str | None, settings: dict[str, Any]) -> str:
        nested = {"mlflow.parentRunId": parent} if parent else {}
        tags = {**nested, "relevo.run": summary["run"]}
        run = client.create_run(experiment, started, tags, run_name=title)
        client.log_batch(run.info.run_id, params=[Param(k, str(v)) for k, v in settings.items()])
        return str(run.info.run_id)

    whole = {"recipe": plan.name, "seed": plan.seed, "dataset": summary["dataset"]}
    about = plan.data.model_dump(mode="json")
    whole |= {"device": summary["device"], **{f"data.{key}": value for key, value in about.items()}}
    outer = begin(summary["run"], None, whole)
    for stage, trained in done.items():
        inner = begin(stage, outer, settings_of(plan, plan.stages[stage]))
        numbers = summary["stages"][stage]
        rows = [
            Metric(key, value, started + int(row["seconds"] * 1000), int(row["epoch"]))
            for row in load_model(trained.model, store)[0].history
            for key, value in row.items()
            if key != "epoch"
        ]
        end = started + int(numbers["seconds"] * 1000)
        rows += [Metric(key, value, end, numbers["epochs"]) for key, value in scores_of(numbers)]
        for at in range(0, len(rows), PER_CALL):
            client.log_batch(inner, metrics=rows[at : at + PER_CALL])
        for key in ("state", "model_digest", "model"):
            client.set_tag(inner, f"relevo.{key}", numbers[key])
        client.set_terminated(inner)
    page = open_store(store).read(f"runs/{summary['run']}/report.html")
    client.log_text(outer, page.decode(), "report.html")
    client.set_terminated(outer)


def settings_of(plan: Recipe, stage: Stage) -> dict[str, Any]:
    """What decided a stage, as parameters: its settings, its start, its labels, the seed.

    Settings that change nothing for it are left out, and tables are written as JSON.
    """
    network = {"network": str(plan.network(stage))}
    settings = {**stage.settings_in_key(), **network}
    settings |= {"labels": stage.labels, "start": stage.start or "scratch", "seed": plan.seed}
    return {
        key: json.dumps(value) if isinstance(value, dict | list) else value
        for key, value in settings.items()
    }


def scores_of(numbers: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """The test scores that are single numbers, and those of a stage's controls, by their names there."""
    for kind, of in {"test": numbers, **numbers.get("controls", {})}.items():
        for key, value in of["metrics"].items():
            if isinstance(value, int | float):
                yield (f"test/{key}" if kind == "test" else f"control_{kind}/{key}"), float(value)
