"""Log runs to the MLflow tracking server that MLFLOW_TRACKING_URI names, if any.

A run is an MLflow run, and each stage a run nested in it. Needs the extra `mlflow`.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tasks.progress import Event, emit
from tasks.runs.publish import FinishedRun
from tasks.runs.summary import RunSummary, StageSummary
from tasks.store.addresses import without_secrets
from tasks.store.base import Store
from tasks.vision.recipe.recipe import Recipe
from tasks.vision.recipe.schema import Stage

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "relevo"  # MLFLOW_EXPERIMENT_NAME names another
PER_CALL = 1000  # metrics; MLflow's limit
DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # MLflow's default of 7 delays a finished run by minutes
}


def track(summary: RunSummary, run: FinishedRun, home: Store) -> None:
    """Log a finished run; server errors and a missing package are reported and don't fail the run."""
    with_client("logged", lambda client: _log(client, summary, run, home))


def with_client(done: str, send: Callable[[MlflowClient], None]) -> None:
    """Have `send` use a client of the server, if one is named; errors are reported in one line.

    Args:
        done: what is not done then, for the line.
    """
    address = os.environ.get("MLFLOW_TRACKING_URI")
    if not address:
        return
    if importlib.util.find_spec("mlflow") is None:
        emit(
            Event("mlflow", f"not {done}: MLFLOW_TRACKING_URI is set; pip install 'relevo[mlflow]'")
        )
        return
    try:
        for name, value in DEFAULTS.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        send(MlflowClient(tracking_uri=address))
    except Exception as error:  # mlflow passes on errors of several libraries
        line = without_secrets(" ".join(str(error).split()))[:300]
        emit(Event("mlflow", f"not {done}: {line or type(error).__name__}"))


def experiment_name() -> str:
    """Name of the experiment that runs are logged to, and of the registered model."""
    return os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)


def _log(client: MlflowClient, summary: RunSummary, run: FinishedRun, home: Store) -> None:
    from mlflow.entities import Metric, Param

    plan, started = run.recipe, int(run.started.timestamp() * 1000)
    name = experiment_name()
    found = client.get_experiment_by_name(name)
    experiment = found.experiment_id if found else client.create_experiment(name)

    def begin(title: str, parent: str | None, settings: dict[str, Any]) -> str:
        nested = {"mlflow.parentRunId": parent} if parent else {}
        tags = {**nested, "relevo.run": run.name}
        there = client.create_run(experiment, started, tags, run_name=title)
        client.log_batch(there.info.run_id, params=[Param(k, str(v)) for k, v in settings.items()])
        return str(there.info.run_id)

    whole = {"recipe": plan.name, "seed": plan.seed, "dataset": summary.dataset}
    about = plan.data.model_dump(mode="json")
    whole |= {"device": summary.device, **{f"data.{key}": value for key, value in about.items()}}
    outer = begin(run.name, None, whole)
    for stage, result in run.results.items():
        inner = begin(stage, outer, settings_of(plan, plan.stages[stage]))
        numbers = summary.stages[stage]
        rows = [
            Metric(key, value, started + int(row["seconds"] * 1000), int(row["epoch"]))
            for row in result.card.history
            for key, value in row.items()
            if key != "epoch"
        ]
        end = started + int(numbers.seconds * 1000)
        rows += [Metric(key, value, end, numbers.epochs) for key, value in scores_of(numbers)]
        for at in range(0, len(rows), PER_CALL):
            client.log_batch(inner, metrics=rows[at : at + PER_CALL])
        for key in ("state", "model_digest", "model"):
            client.set_tag(inner, f"relevo.{key}", getattr(numbers, key))
        client.set_terminated(inner)
    page = home.read(f"runs/{run.name}/report.html")
    client.log_text(outer, page.decode(), "report.html")
    client.set_terminated(outer)


def settings_of(plan: Recipe, stage: Stage) -> dict[str, Any]:
    """Return a stage's settings, start, labels and seed as MLflow parameters.

    Unused settings are omitted; tables are JSON.
    """
    network = {"network": stage.pretrained or str(plan.network(stage))}
    settings = {**stage.settings_in_key(), **network}
    settings |= {"labels": stage.labels, "start": stage.start or "scratch", "seed": plan.seed}
    return {
        key: json.dumps(value) if isinstance(value, dict | list) else value
        for key, value in settings.items()
    }


def scores_of(stage: StageSummary) -> Iterator[tuple[str, float]]:
    """Yield the scalar test scores of a stage and of its controls with their MLflow names."""
    for kind, each in {"test": stage, **stage.controls}.items():
        for key, value in each.metrics:
            if isinstance(value, int | float):
                yield (f"test/{key}" if kind == "test" else f"control_{kind}/{key}"), float(value)
