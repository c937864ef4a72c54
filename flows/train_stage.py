"""Flow: one stage on one worker; the data and what it starts from come from the cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from prefect import flow
from prefect.runtime import flow_run
from pydantic import Field

from flows.parameters import (
    Address,
    Epochs,
    OwnRecipe,
    RecipeChoice,
    Seed,
    Settings,
    StageInputs,
    find_recipe,
)
from flows.prepare_data import prepared
from tasks.cache.cached_task import cached
from tasks.cache.keys import evaluation, exporting, training
from tasks.evaluate import evaluate
from tasks.export import export
from tasks.io.checkpoints import Checkpoints
from tasks.io.load import load_dataset, load_model
from tasks.io.locations import store_address
from tasks.monitoring.live import shown_live
from tasks.monitoring.prefect_ui import show_stage
from tasks.runs.stage_result import StageResult, save_result
from tasks.store.base import Ref
from tasks.store.opening import open_store
from tasks.store.outages import retry_for
from tasks.store.own import begin
from tasks.train import train
from tasks.vision.data.targets import apply_scheme
from tasks.vision.device import require_gpu
from tasks.vision.recipe.recipe import Recipe
from tasks.vision.recipe.schema import Stage


@dataclass(frozen=True)
class RunContext:
    """What all stages of a run share: the recipe, the data set and its classes, the store."""

    recipe: Recipe
    data: Ref
    classes: list[str]
    store: str
    refresh: bool = False


def run_stage(
    setting: RunContext, name: str, stage: Stage, start: Ref | None, *, exports: bool = True
) -> StageResult:
    """Train `stage` from `start`, score it on test, and export it, each unless the cache has it.

    `exports` is False for a control, which nobody takes away.
    """
    scheme = setting.recipe.scheme(stage)
    targets = apply_scheme(scheme, setting.classes)
    options: dict[str, Any] = {"refresh": setting.refresh, "minutes": stage.timeout_minutes}

    work = training(stage, targets, setting.data, start, setting.recipe.seed)
    clear = Checkpoints(open_store(setting.store), work.key).clear
    call = cached(train, work, setting.store, f"train {name}", kept=clear, **options)
    with shown_live(f"train {name}"):
        model, hit = call(
            f"train {name}",
            stage.model_dump(mode="json"),
            scheme.model_dump(mode="json") if scheme else None,
            setting.data.model_dump(mode="json"),
            start.model_dump(mode="json") if start else None,
            setting.recipe.seed,
            work.ingredients,
            setting.store,
        )
    judge = evaluation(model, setting.data)
    call = cached(evaluate, judge, setting.store, f"evaluate {name}", **options)
    scores, _ = call(
        f"evaluate {name}",
        model.model_dump(mode="json"),
        setting.data.model_dump(mode="json"),
        judge.ingredients,
        setting.store,
    )
    card, _ = load_model(model, setting.store)
    state = "cached" if hit else "resumed" if card.resumed else "trained"
    exported: Ref | None = None
    if exports:
        writing = exporting(model, card)
        call = cached(export, writing, setting.store, f"export {name}", **options)
        exported, _ = call(
            f"export {name}", model.model_dump(mode="json"), writing.ingredients, setting.store
        )
    trained = StageResult(stage.start, state, model, scores, exported)
    if not hit:  # else its table is there already
        show_stage(name, trained, setting.store, figures=exports)
    return trained


def control_name(stage: str, kind: str) -> str:
    """What a stage's control is called in logs and in the graph of a run."""
    return f"{stage}, {kind}"


def _run_name() -> str:
    stage, given = flow_run.parameters["stage"], flow_run.parameters.get("given")
    control = StageInputs.model_validate(given).control if given else None
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
    given: StageInputs | None = None,
) -> dict[str, Any]:
    """Train one stage of a recipe and score it; what it starts from is trained too unless it is cached.

    Args:
        stage: a stage of the recipe.
        recipe: the chain of models to train.
        own_recipe: an own recipe's TOML, in place of that one.
        data: digits, cifar10, or a folder or archive of images, s3:// too; the recipe's own when left out.
        store: where results are kept, a folder or s3://bucket/prefix; the worker's RELEVO_STORE when
            left out.
        seed: of the run, in place of the recipe's.
        max_epochs: no stage trains for longer than this; for a quick trial.
        settings: values of the recipe to change, e.g. {"stages.baseline.epochs": 3}.
        refresh: compute everything anew, whatever the cache holds.
        given: filled in by experiment, which has data and start ready; leave it empty.
    """
    plan, home = find_recipe(recipe, own_recipe, settings, seed, max_epochs), store_address(store)
    if plan.require_gpu:
        require_gpu()
    order = plan.ordered([stage])
    with retry_for():
        begin(open_store(home))
        if given:
            setting = RunContext(
                plan, given.dataset, load_dataset(given.dataset, home).classes, home, refresh
            )
            trained = _sent(setting, stage, order[stage], given)
        else:
            setting = RunContext(plan, *prepared(plan, data, home), home, refresh)
            done: dict[str, StageResult] = {}
            for name, step in order.items():
                start = done[step.start].model if step.start else None
                done[name] = run_stage(setting, name, step, start)
            trained = done[stage]
        if flow_run.id:
            save_result(home, flow_run.id, trained)
    return {"state": trained.state, "model": trained.model.model_dump(mode="json")}


def _sent(setting: RunContext, name: str, stage: Stage, given: StageInputs) -> StageResult:
    if given.control is None:
        return run_stage(setting, name, stage, given.start)
    control = stage.controls_of(setting.recipe.network(stage))[given.control]
    return run_stage(setting, control_name(name, given.control), control, None, exports=False)
