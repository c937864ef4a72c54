"""Flow: train one stage on one worker; its data set and its parent model come from the cache."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Annotated, Any

from prefect import flow
from prefect.runtime import flow_run
from pydantic import Field

from flows.open_server import warn_of_open_server
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
from flows.trainings import Training, control_name, second_try
from tasks.cache.cached_task import CacheOptions, Published, cached
from tasks.cache.keys import evaluation, exporting, training
from tasks.evaluate import evaluate, load_scores
from tasks.export import export
from tasks.io.checkpoints import Checkpoints, checkpointed
from tasks.io.load import load_dataset
from tasks.io.locations import store_address
from tasks.monitoring.live import live_progress
from tasks.monitoring.prefect_ui import show_stage
from tasks.runs.stage_result import StageResult, save_result
from tasks.store.base import Ref, Store
from tasks.store.marker import check_store
from tasks.store.opening import open_store
from tasks.store.outages import OUTAGE
from tasks.train import load_trained, train
from tasks.vision.data.targets import apply_scheme
from tasks.vision.device import require_gpu
from tasks.vision.recipe.recipe import Recipe
from tasks.vision.recipe.schema import Stage


@dataclass(frozen=True)
class RunContext:
    """What the stages of a run share: the recipe, the data set and its classes, and the store.

    Attributes:
        new: True if the data set was just prepared, so that hardly any training on it is cached.
    """

    recipe: Recipe
    data: Ref
    classes: list[str]
    store: Store
    refresh: bool = False
    new: bool = False

    @cached_property
    def checkpointed(self) -> set[str]:
        """Work keys of interrupted trainings, and of finished ones whose checkpoints are still there."""
        return checkpointed(self.store)


def run_stage(
    context: RunContext, name: str, stage: Stage, start: Ref | None, *, exports: bool = True
) -> StageResult:
    """Train `stage` from `start`, score it on the test split and export it, each unless it is cached.

    `exports` is False for a control, which is only trained for comparison.
    """
    store, data = context.store, context.data
    scheme = context.recipe.scheme(stage)
    targets = apply_scheme(scheme, context.classes)
    options = CacheOptions(refresh=context.refresh, minutes=stage.timeout_minutes)

    title, work = f"train {name}", training(stage, targets, data, start, context.recipe.seed)
    checkpoints, load = Checkpoints(store, work.key), partial(load_trained, store=store)
    locked = replace(options, locked=context.new or work.key in context.checkpointed)
    call = cached(train, work, store, title, load, locked, on_cached=checkpoints.clear)
    with live_progress(title):
        model, hit = call(
            title, stage, scheme, data, start, context.recipe.seed, checkpoints, store
        )
    # What is computed from a new model is hardly cached.
    options = replace(options, locked=not hit)

    title, work = f"evaluate {name}", evaluation(model.ref, data)
    call_evaluate = cached(evaluate, work, store, title, partial(load_scores, store=store), options)
    scored, _ = call_evaluate(title, model.ref, data, store)

    exported: Ref | None = None
    if exports:
        title, work = f"export {name}", exporting(model.ref, model.card)
        written, _ = cached(export, work, store, title, Published.of, options)(
            title, model.ref, store
        )
        exported = written.ref
    result = StageResult(
        start=stage.start,
        state="cached" if hit else "resumed" if model.card.resumed else "trained",
        model=model.ref,
        card=model.card,
        evaluation=scored.ref,
        scores=scored.scores,
        exported=exported,
    )
    if not hit:  # else an earlier run has shown it
        show_stage(name, result, store, figures=exports)
    return result


def run_training(
    context: RunContext, stage: Stage, training: Training, start: Ref | None
) -> StageResult:
    """Train the stage, or the control of it that `training` names; try again once after an accident."""
    if training.control:
        stage = stage.controls_of(context.recipe.network(stage))[training.control]
    work = partial(
        run_stage, context, training.title, stage, start, exports=training.control is None
    )
    return second_try(f"train {training.title}", work)


def _run_name() -> str:
    stage, inputs = flow_run.parameters["stage"], flow_run.parameters.get("inputs")
    control = StageInputs.model_validate(inputs).control if inputs else None
    return f"train {control_name(stage, control) if control else stage}"


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
    inputs: StageInputs | None = None,
) -> dict[str, Any]:
    """Train and score one stage of a recipe, and first the stages that it starts from unless cached.

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
    )
    if inputs is None:  # else the experiment has said so
        warn_of_open_server()
    if request.recipe.require_gpu:
        require_gpu()
    order, home = request.recipe.ordered([stage]), open_store(request.store, retry_for=OUTAGE)
    check_store(home)
    if inputs:
        classes = load_dataset(inputs.dataset, home).classes
        context = RunContext(request.recipe, inputs.dataset, classes, home, refresh)
        training = Training(stage, inputs.control)
        result = run_training(context, order[stage], training, inputs.start)
    else:
        images, about, known = prepare_dataset(request, home)
        context = RunContext(request.recipe, images, about.classes, home, refresh, new=not known)
        done: dict[str, StageResult] = {}
        for name, each in order.items():
            start = done[each.start].model if each.start else None
            done[name] = run_training(context, each, Training(name), start)
        result = done[stage]
    if flow_run.id:
        save_result(home, flow_run.id, result)
    return {"state": result.state, "model": result.model.model_dump(mode="json")}
