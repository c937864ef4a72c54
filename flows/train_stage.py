"""Flow: train one stage on one worker; its data set and its parent model come from the cache."""

from __future__ import annotations

from typing import Annotated

from prefect import flow
from prefect.runtime import flow_run
from pydantic import Field

from flows.dispatch.open_server import warn_of_open_server
from flows.parameters import (
    Address,
    Epochs,
    OwnRecipe,
    RecipeChoice,
    RunRequest,
    Seed,
    Settings,
    StageInputs,
)
from flows.prepare_data import prepare_dataset
from flows.same_version import OfThisVersion
from flows.training.machines import follow, group_of, leading
from flows.training.run_context import RunContext
from flows.training.stages import run_chain, run_trainings
from flows.training.trainings import Training, control_name
from tasks.io.locations import store_address
from tasks.io.prepared import load_dataset
from tasks.runs.stage_result import StageResult, save_result
from tasks.runs.starts import Starts
from tasks.store.base import Store
from tasks.store.marker import check_store
from tasks.store.opening import open_store
from tasks.store.outages import OUTAGE
from tasks.vision.device import require_gpu
from tasks.vision.recipe.recipe import Recipe


def _run_name() -> str:
    stage, inputs = flow_run.parameters["stage"], flow_run.parameters.get("inputs")
    given = StageInputs.model_validate(inputs) if inputs else None
    name = control_name(stage, "controls") if given and given.controls else stage
    helper = f", machine {given.machine + 1}" if given and given.machine else ""
    return f"train {name}{helper}"


@flow(name="train-stage", flow_run_name=_run_name, persist_result=False)
def train_stage(
    stage: Annotated[str, Field(min_length=1, max_length=100)],
    recipe: RecipeChoice = "digits",
    own_recipe: OwnRecipe = None,
    data: Address = None,
    store: Address = None,
    seed: Seed = None,
    max_epochs: Epochs = None,
    settings: Settings = None,
    refresh: bool = False,
    inputs: Annotated[StageInputs, OfThisVersion] | None = None,
) -> dict[str, StageResult]:
    """Train and score one stage of a recipe, and first the stages that it starts from unless cached.

    An experiment also sends all controls of a stage as one such run.

    Args:
        stage: name of a stage of the recipe.
        recipe: the built-in recipe that the stage belongs to.
        own_recipe: the TOML text of a recipe of your own, used instead of the built-in one.
        data: digits, cifar10, or a folder, archive or s3:// address of images; defaults to the recipe's source.
        store: a folder or s3://bucket/prefix for all results; defaults to the worker's RELEVO_STORE.
        seed: random seed of the run; defaults to the recipe's.
        max_epochs: upper limit of the epochs of every stage, for a quick trial.
        settings: recipe settings to override, e.g. {"stages.baseline.epochs": 3}.
        refresh: compute everything again, ignoring the cache.
        inputs: data set and parent model, set by the experiment flow; leave it empty.
    """
    request = RunRequest(
        recipe,
        store_address(store),
        own_recipe=own_recipe,
        data=data,
        seed=seed,
        max_epochs=max_epochs,
        settings=settings,
        refresh=refresh,
        models=inputs.models if inputs else {},
    )
    if inputs is None:  # else the experiment flow has warned already
        warn_of_open_server()
    if request.recipe.require_gpu:
        require_gpu()
    order, home = request.recipe.ordered([stage]), open_store(request.store, retry_for=OUTAGE)
    check_store(home)
    if inputs:
        return _train(request.recipe, stage, inputs, home, refresh)
    request = request.pinned()
    starts = Starts(request.recipe, order, request.source, request.store, request.read)
    images, about, known = prepare_dataset(request, home)
    plan, networks = starts.recipe, starts.publish(home)
    context = RunContext(plan, images, about.classes, home, refresh, not known, networks)
    return {stage: run_chain(context, stage)}


def _train(
    recipe: Recipe, stage: str, inputs: StageInputs, home: Store, refresh: bool
) -> dict[str, StageResult]:
    """Train what an experiment has sent, and store the results for it; none on machines that help."""
    classes = load_dataset(inputs.dataset, home).classes
    starts = {stage: inputs.start} if inputs.start else {}
    group = group_of(recipe.stages[stage], inputs)
    context = RunContext(
        recipe, inputs.dataset, classes, home, refresh, networks=starts, group=group
    )
    if group and group.index:
        follow(context, stage, inputs.start)
        return {}
    trainings = [Training(stage, control) for control in inputs.controls or (None,)]
    with leading(group, home):
        outcomes = run_trainings(context, recipe.stages, trainings)
        outcomes.check()
    results = {each.title: outcomes.of(each) for each in trainings}
    if flow_run.id:
        for each in trainings:
            save_result(home, flow_run.id, results[each.title], each.control)
    return results
