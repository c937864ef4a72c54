"""Flow: a whole recipe. Prepare the data, train the stages in graph order, write the report."""

from __future__ import annotations

import json
import shlex
import time
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from prefect import flow

from flows.prepare_data import prepared
from flows.train_stage import Setting, Trained, run_stage
from tasks.caching import cached, versions
from tasks.evaluate import load_evaluation
from tasks.report import report, report_files, reporting
from tasks.store import Ref, open_store
from tasks.train import load_model
from tasks.vision.hardware import find_device
from tasks.vision.loading import load_recipe
from tasks.vision.recipe import Recipe


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
    clock = time.monotonic()
    changes = {**(settings or {}), **({"seed": seed} if seed is not None else {})}
    plan = load_recipe(recipe, changes)
    order = plan.ordered(stages or [])

    ref, dataset = prepared(plan, data, store, refresh=refresh)
    setting = Setting.of(plan, ref, dataset, store, refresh)
    done: dict[str, Trained] = {}
    controls: dict[str, dict[str, Trained]] = {}
    for name, stage in order.items():
        done[name] = run_stage(
            setting, name, stage, done[stage.start].model if stage.start else None
        )
        controls[name] = {
            kind: run_stage(setting, f"{name}, {kind}", control, None)
            for kind, control in stage.controls_of().items()
        }
    content = {
        "title": plan.name,
        "description": plan.description,
        "recipe_toml": as_toml(plan),
        "command": _command(recipe, data, changes, stages or []),
        "seed": plan.seed,
        "device": str(find_device()),
        "versions": {
            "relevo": version("relevo"),
            **versions("tensorflow", "keras", "numpy", "prefect"),
        },
        "source": data or plan.data.source,
        "dataset": ref.model_dump(mode="json"),
        "stages": {name: _refs(trained, controls[name]) for name, trained in done.items()},
    }
    work = reporting(content)
    page, _ = cached(report, work, store, "write report", refresh=refresh, minutes=60)(
        content, work.ingredients, store
    )
    name = run or run_name(plan.name, started)
    return _publish(name, plan, setting, done, controls, page, started, time.monotonic() - clock)


def run_name(recipe: str, started: datetime) -> str:
    """A name that sorts by time and says what ran."""
    return f"{started:%Y%m%d-%H%M%S}-{started.microsecond // 1000:03d}-{recipe}"


def as_toml(recipe: Recipe) -> str:
    """The recipe as it ran, every default written out, in TOML."""
    lines: list[str] = []

    def table(path: str, values: dict[str, Any]) -> None:
        plain = {k: v for k, v in values.items() if not isinstance(v, dict) and v is not None}
        nested = {k: v for k, v in values.items() if isinstance(v, dict)}
        if path and (plain or not nested):
            lines.append(f"\n[{path}]")
        # JSON's strings, numbers, booleans and lists are TOML's too.
        lines.extend(
            f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in plain.items()
        )
        for key, value in nested.items():
            table(f"{path}.{_quoted(key)}" if path else _quoted(key), value)

    table("", recipe.model_dump(mode="json"))
    return "\n".join(lines).strip() + "\n"


def _quoted(key: str) -> str:
    plain = key.replace("-", "_")
    return key if plain.isascii() and plain.isidentifier() else json.dumps(key, ensure_ascii=False)


def _command(recipe: str, data: str | None, changes: dict[str, Any], stages: list[str]) -> str:
    words = ["relevo", "run", recipe, *(["--data", data] if data else [])]
    for stage in stages:
        words += ["--stage", stage]
    for path, value in changes.items():
        text = value if isinstance(value, str) else json.dumps(value)
        words += ["--seed", text] if path == "seed" else ["--set", f"{path}={text}"]
    return shlex.join(words)


def _refs(trained: Trained, controls: dict[str, Trained]) -> dict[str, Any]:
    own = {
        "start": trained.start,
        "model": trained.model.model_dump(mode="json"),
        "evaluation": trained.scores.model_dump(mode="json"),
    }
    return {**own, "controls": {kind: _refs(control, {}) for kind, control in controls.items()}}


def _publish(
    name: str,
    plan: Recipe,
    setting: Setting,
    done: dict[str, Trained],
    controls: dict[str, dict[str, Trained]],
    page: Ref,
    started: datetime,
    seconds: float,
) -> dict[str, Any]:
    """Write the run folder for people to open, its summary last, and return the summary."""
    home, folder = open_store(setting.store), f"runs/{name}"
    for path, content in report_files(page, setting.store):
        home.write(f"{folder}/{path}", content)
    home.write(f"{folder}/recipe.toml", as_toml(plan).encode())
    stages: dict[str, Any] = {}
    lineage = {"dataset": setting.data.model_dump(mode="json"), "models": {}, "evaluations": {}}
    for stage, trained in done.items():
        model = f"{folder}/models/{stage}"
        home.write(f"{model}/model.safetensors", home.fetch(trained.model).read_bytes())
        stages[stage] = {
            **_summary(trained, setting.store),
            "model": home.address(model),
            "controls": {
                kind: _summary(control, setting.store) for kind, control in controls[stage].items()
            },
        }
        lineage["models"][stage] = trained.model.model_dump(mode="json")
        lineage["evaluations"][stage] = trained.scores.model_dump(mode="json")
    summary = {
        "run": name,
        "recipe": plan.name,
        "store": setting.store,
        "report": home.address(f"{folder}/report.html"),
        "seconds": round(seconds, 3),
        "device": find_device().kind,
        "dataset": f"sha256:{setting.data.digest}",
        "stages": stages,
    }
    home.write(f"{folder}/lineage.json", _json(lineage))
    about = {**summary, "started": started.isoformat(), "seed": plan.seed}
    home.write(f"{folder}/run.json", _json(about))
    return summary


def _summary(trained: Trained, store: str) -> dict[str, Any]:
    card, _ = load_model(trained.model, store)
    scores, _ = load_evaluation(trained.scores, store)
    return {
        "state": trained.state,
        "seconds": round(card.seconds, 3),
        "epochs": card.epochs,
        "images_per_second": round(card.images_per_second, 1),
        "model_digest": f"sha256:{trained.model.digest}",
        "start": trained.start,
        "metrics": scores["metrics"],
    }


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
