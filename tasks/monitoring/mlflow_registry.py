"""Give a promoted model its alias in MLflow's model registry, too, where MLFLOW_TRACKING_URI names a server.

relevo's store decides; the registry shows it. Each promoted model is a version of the registered model
`relevo` (or MLFLOW_EXPERIMENT_NAME), with the run that it was logged as.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tasks.monitoring.mlflow import experiment_name, with_client
from tasks.runs.aliases.record import AliasedModel
from tasks.store.opening import open_store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

DIGEST = "relevo.model_digest"  # a tag


def register(alias: str, model: AliasedModel, store: str) -> None:
    """Set the alias in the registry; server errors are reported in one line and don't undo the promotion."""
    address = open_store(store).address(f"runs/{model.run}/models/{model.stage}")
    with_client(f"registered as {alias}", partial(_register, alias, model, address))


def _register(alias: str, model: AliasedModel, address: str, client: MlflowClient) -> None:
    name, tags = experiment_name(), _tags(model, address)
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    versions = client.search_model_versions(f"name = '{name}'")
    same = [each for each in versions if tags.items() <= each.tags.items()]
    if same:
        version = same[0].version
    else:
        run = _logged(client, model)
        # A server takes no path of another machine as the source.
        source = address if "://" in address or run is None else f"runs:/{run.info.run_id}/model"
        version = client.create_model_version(
            name, source, run.info.run_id if run else None, tags
        ).version
    client.set_registered_model_alias(name, alias, version)


def _tags(model: AliasedModel, address: str) -> dict[str, str]:
    return {
        DIGEST: f"sha256:{model.ref.digest}",
        "relevo.run": model.run,
        "relevo.stage": model.stage,
        "relevo.model": address,
    }


def _logged(client: MlflowClient, model: AliasedModel) -> Run | None:
    """The MLflow run that the model's stage was logged as, if it was."""
    if not (experiment := client.get_experiment_by_name(experiment_name())):
        return None
    found = client.search_runs([experiment.experiment_id], f"tags.`relevo.run` = '{model.run}'")
    return next((run for run in found if run.info.run_name == model.stage), None)
