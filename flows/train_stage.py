"""Flow: one stage on one worker; the data and what it starts from come from the cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prefect import flow

from flows.prepare_data import prepared
from tasks.caching import cached
from tasks.evaluate import evaluate
from tasks.kept import load_model
from tasks.keys import evaluation, training
from tasks.runs import Trained
from tasks.store import Ref
from tasks.train import train
from tasks.vision.hardware import require_gpu
from tasks.vision.labels import apply_scheme
from tasks.vision.loading import load_recipe
from tasks.vision.recipe import Recipe, Stage


@dataclass(frozen=True)
class Setting:
    """What all stages of a run share: the recipe, the data set and its classes, the store."""

    recipe: Recipe
    data: Ref
    classes: list[str]
    store: str
    refresh: bool = False


def run_stage(setting: Setting, name: str, stage: Stage, start: Ref | None) -> Trained:
    """Train `stage` from `start` and score it on test, each unless the cache has it."""
    scheme = setting.recipe.scheme(stage)
    targets = apply_scheme(scheme, setting.classes)
    options: dict[str, Any] = {"refresh": setting.refresh, "minutes": stage.timeout_minutes}

    work = training(stage, targets, setting.data, start, setting.recipe.seed)
    call = cached(train, work, setting.store, f"train {name}", **options)
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
    resumed = not hit and load_model(model, setting.store)[0].resumed
    state = "cached" if hit else "resumed" if resumed else "trained"
    return Trained(stage.start, state, model, scores)


@flow(name="train-stage", flow_run_name="train {stage}", persist_result=False)
def train_stage(
    stage: str,
    recipe: str = "digits",
    data: str | None = None,
    store: str = "artifacts",
    seed: int = 0,
) -> dict[str, Any]:
    """Train one stage of a recipe and score it; its ancestors are trained too unless they are cached."""
    plan = load_recipe(recipe, {"seed": seed})
    if plan.require_gpu:
        require_gpu()
    order = plan.ordered([stage])
    images, classes = prepared(plan, data, store)
    setting = Setting(plan, images, classes, store)
    done: dict[str, Trained] = {}
    for name, step in order.items():
        done[name] = run_stage(setting, name, step, done[step.start].model if step.start else None)
    return {"state": done[stage].state, "model": done[stage].model.model_dump(mode="json")}
