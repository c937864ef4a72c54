"""Flow: a whole recipe. Prepare the data, train the stages in graph order, write the report."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime
from typing import Annotated, Any

from prefect import flow
from prefect.runtime import flow_run
from pydantic import Field

from flows.dispatch import check_deployment, send_stages
from flows.parameters import (
    Address,
    Dispatch,
    Epochs,
    Language,
    OwnRecipe,
    RecipeChoice,
    Seed,
    Settings,
    all_changes,
    explicit_settings,
    find_recipe,
)
from flows.prepare_data import prepared
from flows.train_stage import RunContext, control_name, run_stage
from tasks.cache.cached_task import cached
from tasks.cache.keys import reporting, versions
from tasks.io.locations import store_address
from tasks.monitoring.mlflow import track
from tasks.monitoring.prefect_ui import show_run
from tasks.report import report
from tasks.runs.lookup import check_free, find_attempt
from tasks.runs.publish import devices_of, publish, run_name
from tasks.runs.stage_result import StageResult
from tasks.store.opening import open_store
from tasks.store.outages import retry_for
from tasks.store.own import begin
from tasks.vision.device import require_gpu
from tasks.vision.recipe.schema import Stage
from tasks.vision.recipe.to_toml import as_toml, toml_value


def _run_name() -> str:
    # A name that a person has typed in Prefect's form stays; Prefect's own are two words and a dash.
    if (name := flow_run.name) and not re.fullmatch("[a-z]+-[a-z]+", name):
        return str(name)
    given = flow_run.parameters
    return str(given.get("run") or ("own recipe" if given.get("own_recipe") else given["recipe"]))


@flow(name="experiment", flow_run_name=_run_name, persist_result=False)
def experiment(
    recipe: RecipeChoice = "digits",
    own_recipe: OwnRecipe = None,
    data: Address = None,
    store: Address = None,
    stages: list[str] | None = None,
    seed: Seed = None,
    max_epochs: Epochs = None,
    settings: Settings = None,
    refresh: bool = False,
    dispatch: Dispatch = "inline",
    lang: Language = "en",
    run: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9_-]{1,100}$")] = None,
) -> dict[str, Any]:
    """Train a recipe's chain of models and report what handing knowledge on was worth.

    Args:
        recipe: the chain of models to train.
        own_recipe: an own recipe's TOML, in place of that one.
        data: digits, cifar10, or a folder or archive of images, s3:// too; the recipe's own when left out.
        store: where results are kept, a folder or s3://bucket/prefix; the worker's RELEVO_STORE when
            left out.
        stages: train only these, and what they start from.
        seed: of the run, in place of the recipe's.
        max_epochs: no stage trains for longer than this; for a quick trial.
        settings: values of the recipe to change, e.g. {"stages.baseline.epochs": 3}.
        refresh: compute everything anew, whatever the cache holds.
        dispatch: train in this process, or send every stage to the pool of GPU workers.
        lang: the report's language, English or Spanish.
        run: the name of its folder in the store, which no run there has; made up when left out.
    """
    started = datetime.now(UTC)
    home, changes = store_address(store), all_changes(settings, seed)
    plan = find_recipe(recipe, own_recipe, settings, seed, max_epochs)
    # One that crashed when all was published is over when it goes on.
    if flow_run.run_count > 1 and (summary := find_attempt(home, flow_run.id)):
        return summary
    if dispatch == "workers":
        check_deployment()
    elif plan.require_gpu:
        require_gpu()
    if run:
        check_free(home, run)

    with retry_for():
        begin(open_store(home))
        images, classes = prepared(plan, data, home, refresh=refresh)
        setting, chosen = (
            RunContext(plan, images, classes, home, refresh),
            plan.ordered(stages or []),
        )
        if dispatch == "inline":
            done = run_here(setting, chosen)
        else:
            same = {"recipe": recipe, "own_recipe": own_recipe, "store": home, "settings": changes}
            done = send_stages(
                setting, chosen, {**same, "max_epochs": max_epochs, "refresh": refresh}
            )

        devices, source = devices_of(done, home), data or plan.data.source
        repeat = explicit_settings(recipe, own_recipe, settings, seed, max_epochs)
        content = {
            "lang": lang,
            "title": plan.name,
            "description": plan.description,
            "recipe_toml": as_toml(plan),
            "command": command(
                f"{plan.name}.toml" if own_recipe else recipe, data, repeat, stages or [], lang
            ),
            "seed": plan.seed,
            "device": "; ".join(devices),
            "versions": versions("relevo", "tensorflow", "keras", "numpy", "prefect"),
            "source": source,
            "dataset": images.model_dump(mode="json"),
            "stages": {name: trained.refs() for name, trained in done.items()},
        }
        work = reporting(content)
        draw = cached(report, work, home, "write report", refresh=refresh, minutes=60)
        page, _ = draw(content, work.ingredients, home)
        name = run or run_name(plan.name, started)
        summary = publish(name, plan, source, images, done, page, home, started, devices)
        show_run(summary, page, home)
        track(summary, plan, done, home, started)
        return summary


def run_here(setting: RunContext, stages: dict[str, Stage]) -> dict[str, StageResult]:
    """Train `stages`, and the controls of each, one after the other in this process."""
    done: dict[str, StageResult] = {}
    for name, stage in stages.items():
        start = done[stage.start].model if stage.start else None
        done[name] = run_stage(setting, name, stage, start)
        for kind, control in stage.controls_of(setting.recipe.network(stage)).items():
            title = control_name(name, kind)
            done[name].controls[kind] = run_stage(setting, title, control, None, exports=False)
    return done


def command(
    recipe: str, data: str | None, changes: dict[str, Any], stages: list[str], lang: str
) -> str:
    """The command line that repeats a run."""
    words = ["relevo", "run", recipe, *(["--data", data] if data else [])]
    for stage in stages:
        words += ["--stage", stage]
    for path, value in changes.items():
        text = value if isinstance(value, str) else toml_value(value)
        words += ["--seed", text] if path == "seed" else ["--set", f"{path}={text}"]
    words += ["--lang", lang] if lang != "en" else []
    return shlex.join(words)
