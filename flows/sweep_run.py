"""Flow: train one stage with one of a sweep's settings, and score it on the validation images."""

from __future__ import annotations

from typing import Annotated

from prefect import flow
from prefect.runtime import flow_run
from pydantic import Field

from flows.parameters import Address, Epochs, OwnRecipe, RecipeChoice, RunRequest, Settings
from flows.same_version import DispatchedInputs, OfThisVersion
from flows.training.run_context import RunContext
from flows.training.stages import run_chain
from tasks.io.locations import store_address
from tasks.io.prepared import load_dataset
from tasks.runs.stage_result import StageResult, save_result
from tasks.runs.sweeps.search_record import read_picked, write_picked
from tasks.store.base import Ref
from tasks.store.marker import check_store
from tasks.store.opening import open_store
from tasks.store.outages import OUTAGE
from tasks.sweeps.early_stop import EarlyStop, Hopeless, stopping_early
from tasks.vision.device import require_gpu
from tasks.vision.recipe.from_model import StartModel


class SweepInputs(DispatchedInputs):
    """What a sweep has prepared for its runs: the data set, and what stages start from, by their names."""

    dataset: Ref
    networks: dict[str, Ref] = Field({}, max_length=1000)
    models: dict[str, StartModel] = Field({}, max_length=1000)


@flow(name="sweep-run", flow_run_name="{stage}", persist_result=False)
def sweep_run(
    stage: Annotated[str, Field(min_length=1, max_length=100)],
    inputs: Annotated[SweepInputs, OfThisVersion],
    recipe: RecipeChoice = "digits",
    own_recipe: OwnRecipe = None,
    store: Address = None,
    max_epochs: Epochs = None,
    settings: Settings = None,
    stop: EarlyStop | None = None,
) -> StageResult | None:
    """Train one stage for a sweep, and first the stages that it starts from unless cached.

    It is scored on the validation images, and not exported; test images are left to the settings that win.

    Args:
        stage: name of a stage of the recipe.
        inputs: data set and networks, set by the sweep flow, which starts this one.
        recipe: the built-in recipe that the stage belongs to.
        own_recipe: the TOML text of a recipe of your own, used instead of the built-in one.
        store: a folder or s3://bucket/prefix for all results; defaults to the worker's RELEVO_STORE.
        max_epochs: upper limit of the epochs of every stage, for a quick trial.
        settings: recipe settings to override, the seed among them.
        stop: when the stage is to stop early, set by the sweep flow.

    Returns:
        None if it was stopped early, which the search's record then says.
    """
    request = RunRequest(
        recipe,
        store_address(store),
        own_recipe=own_recipe,
        max_epochs=max_epochs,
        settings=settings,
        models=inputs.models,
    )
    if request.recipe.require_gpu:
        require_gpu()
    home = open_store(request.store, retry_for=OUTAGE)
    check_store(home)
    classes = load_dataset(inputs.dataset, home).classes
    context = RunContext(
        request.recipe, inputs.dataset, classes, home, networks=dict(inputs.networks)
    )
    try:
        with stopping_early(stage, stop):
            result = run_chain(context, stage, "validation")
    except Hopeless as error:
        if stop and (picked := read_picked(home, stop.search, stop.number)):
            stopped = picked.model_copy(update={"stopped": error.stopped})
            write_picked(home, stop.search, stop.number, stopped)
        return None
    if flow_run.id:
        save_result(home, flow_run.id, result)
    return result
