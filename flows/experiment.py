"""Flow: a whole recipe. Prepare the data, train the stages in graph order, write the report."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime
from typing import Any

from prefect import flow

from flows.prepare_data import prepared
from flows.train_stage import Setting, run_stage
from tasks.caching import cached
from tasks.keys import reporting, versions
from tasks.report import report
from tasks.runs import Trained, as_toml, publish, run_name
from tasks.vision.hardware import find_device, require_gpu
from tasks.vision.loading import load_recipe


@flow(name="experiment", flow_run_name="{run}", persist_result=False)
def experiment(
    recipe: str = "digits",
    data: str | None = None,
    store: str = "artifacts",
    stages: list[str] | None = None,
    settings: dict[str, Any] | None = None,
    seed: int | None = None,
    refresh: bool = False,
    run: str | None = None,
) -> dict[str, Any]:
    """Train a recipe's chain of models and report what handing knowledge on was worth.

    Args:
        recipe: digits, cifar10, classroom, or the path of a TOML file.
        data: digits, cifar10, or a folder or archive of images; the recipe's own when left out.
        store: where results are kept, a folder or s3://bucket/prefix.
        stages: train only these and what they start from.
        settings: recipe values to change, e.g. {"stages.baseline.epochs": 3}.
        seed: of the run, in place of the recipe's.
        refresh: compute everything anew, whatever the cache holds.
        run: the run's name; made up when left out.
    """
    started = datetime.now(UTC)
    changes = {**(settings or {}), **({"seed": seed} if seed is not None else {})}
    plan = load_recipe(recipe, changes)
    if plan.require_gpu:
        require_gpu()

    images, classes = prepared(plan, data, store, refresh=refresh)
    setting = Setting(plan, images, classes, store, refresh)
    done: dict[str, Trained] = {}
    for name, stage in plan.ordered(stages or []).items():
        start = done[stage.start].model if stage.start else None
        done[name] = run_stage(setting, name, stage, start)
        for kind, control in stage.controls_of(plan.network(stage)).items():
            done[name].controls[kind] = run_stage(setting, f"{name}, {kind}", control, None)

    content = {
        "title": plan.name,
        "description": plan.description,
        "recipe_toml": as_toml(plan),
        "command": command(recipe, data, changes, stages or []),
        "seed": plan.seed,
        "device": str(find_device()),
        "versions": versions("relevo", "tensorflow", "keras", "numpy", "prefect"),
        "source": data or plan.data.source,
        "dataset": images.model_dump(mode="json"),
        "stages": {name: trained.refs() for name, trained in done.items()},
    }
    work = reporting(content)
    draw = cached(report, work, store, "write report", refresh=refresh, minutes=60)
    page, _ = draw(content, work.ingredients, store)
    return publish(run or run_name(plan.name, started), plan, images, done, page, store, started)


def command(recipe: str, data: str | None, changes: dict[str, Any], stages: list[str]) -> str:
    """The command line that repeats a run."""
    words = ["relevo", "run", recipe, *(["--data", data] if data else [])]
    for stage in stages:
        words += ["--stage", stage]
    for path, value in changes.items():
        text = value if isinstance(value, str) else json.dumps(value)
        words += ["--seed", text] if path == "seed" else ["--set", f"{path}={text}"]
    return shlex.join(words)
