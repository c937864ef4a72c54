"""A finished run's folder in the store, written for people to open."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from prefect.runtime import flow_run

from tasks.cache.keys import NUMERIC, versions
from tasks.io.load import load_dataset, load_evaluation, load_model, report_files
from tasks.runs.environment import describe
from tasks.runs.model_card import Facts, model_card
from tasks.runs.stage_result import StageResult
from tasks.runs.summary import UNFINISHED, as_json, sealed, stamp
from tasks.store.base import Ref, sha256_of
from tasks.store.opening import open_store
from tasks.vision.data.targets import apply_scheme
from tasks.vision.export.files import KERAS_FILE, LABELS, MODEL_FILE, labels_json
from tasks.vision.export.tensorboard import event_file
from tasks.vision.recipe.recipe import Recipe
from tasks.vision.recipe.to_toml import as_toml


def run_name(recipe: str, started: datetime) -> str:
    """A name that sorts by time and says what ran."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", recipe).strip("-")[:60] or "recipe"
    return f"{stamp(started)}-{plain}"


def publish(
    name: str,
    plan: Recipe,
    source: str,
    data: Ref,
    done: dict[str, StageResult],
    page: Ref,
    store: str,
    started: datetime,
    devices: list[str],
) -> dict[str, Any]:
    """Write the run folder, its summary last, and return the summary that `relevo run` prints.

    `source` is where the images came from, as it was given.
    """
    home, folder = open_store(store), f"runs/{name}"
    files: dict[str, str] = {}

    def write(path: str, content: bytes) -> None:
        files[path] = sha256_of(content)[0]
        home.write(f"{folder}/{path}", content)

    home.write(f"{folder}/{UNFINISHED}", as_json({"run": name, "since": started.isoformat()}))
    for path, content in report_files(page, store):
        write(path, content)
    write("recipe.toml", as_toml(plan).encode())
    write("environment.txt", describe(plan.name, plan.seed, devices).encode())
    for path, content in model_files(name, plan, source, data, done, store):
        write(f"models/{path}", content)
    for stage, trained in done.items():
        write(*_curves(stage, trained, store, started))
    lineage = {
        "files": files,
        "dataset": data.model_dump(mode="json"),
        "report": page.model_dump(mode="json"),
        "models": {stage: trained.model.model_dump(mode="json") for stage, trained in done.items()},
        "exports": {
            stage: trained.exported.model_dump(mode="json")
            for stage, trained in done.items()
            if trained.exported
        },
        "evaluations": {
            stage: trained.scores.model_dump(mode="json") for stage, trained in done.items()
        },
        "controls": {
            f"{stage}, {kind}": control.refs()
            for stage, trained in done.items()
            for kind, control in trained.controls.items()
        },
    }
    origins = as_json(lineage)
    home.write(f"{folder}/lineage.json", origins)
    summary = {
        "run": name,
        "recipe": plan.name,
        "store": store,
        "report": home.address(f"{folder}/report.html"),
        "seconds": round((datetime.now(UTC) - started).total_seconds(), 3),
        "device": "gpu" if any(device.startswith("gpu") for device in devices) else "cpu",
        "dataset": f"sha256:{data.digest}",
        "stages": {
            stage: {**_numbers(trained, store), "model": home.address(f"{folder}/models/{stage}")}
            for stage, trained in done.items()
        },
    }
    more = {
        "started": started.isoformat(),
        "seed": plan.seed,
        "lineage": sha256_of(origins)[0],
        "flow_run": flow_run.id,
    }
    full = {**summary, **more}
    home.write(f"{folder}/run.json", sealed(full))
    home.delete(f"{folder}/{UNFINISHED}")
    return summary


def model_files(
    run: str, plan: Recipe, source: str, dataset: Ref, done: dict[str, StageResult], store: str
) -> Iterator[tuple[str, bytes]]:
    """The files of every stage's folder, by their path `STAGE/NAME`.

    model.safetensors is what relevo goes on from, model.keras what Keras opens without it, labels.json
    says what the outputs are, and README.md is the model's card.
    """
    home, data = open_store(store), load_dataset(dataset, store)
    for stage, trained in done.items():
        card, _ = load_model(trained.model, store)
        scores, _ = load_evaluation(trained.scores, store)
        targets = apply_scheme(plan.scheme(plan.stages[stage]), data.classes)
        facts = Facts(
            stage=stage,
            run=run,
            recipe=plan.name,
            seed=plan.seed,
            source=source,
            card=card,
            model=trained.model,
            limits={targets.labels[i]: limit for i, limit in targets.limits.items()},
            scores=scores,
            dataset=dataset,
            data=data.description,
            start=(trained.start, done[trained.start].model) if trained.start else None,
            versions=versions("relevo", *NUMERIC),
        )
        yield f"{stage}/{MODEL_FILE}", home.fetch(trained.model).read_bytes()
        if trained.exported:
            yield f"{stage}/{KERAS_FILE}", home.fetch(trained.exported).read_bytes()
        yield f"{stage}/{LABELS}", labels_json(card)
        yield f"{stage}/README.md", model_card(facts).encode()


def _curves(stage: str, trained: StageResult, store: str, started: datetime) -> tuple[str, bytes]:
    """The stage's history and its test scores as TensorBoard reads them: path and content."""
    card, _ = load_model(trained.model, store)
    metrics = load_evaluation(trained.scores, store)[0]["metrics"]
    scores = {name: metrics[name] for name in ("accuracy", "balanced_accuracy")}
    content = event_file(card.history, scores, started.timestamp())
    return f"tensorboard/{stage}/events.out.tfevents.{int(started.timestamp())}.relevo", content


def devices_of(done: dict[str, StageResult], store: str) -> list[str]:
    """What the stages were trained on, each device named once: this machine need not be one of them."""
    trained = [load_model(each.model, store)[0].device for each in done.values()]
    return list(dict.fromkeys(trained))


def _numbers(trained: StageResult, store: str) -> dict[str, Any]:
    card, _ = load_model(trained.model, store)
    scores, _ = load_evaluation(trained.scores, store)
    numbers = {
        "state": trained.state,
        "seconds": round(card.seconds, 3),
        "epochs": card.epochs,
        "images_per_second": round(card.images_per_second, 1),
        "model_digest": f"sha256:{trained.model.digest}",
        "start": trained.start,
        "metrics": scores["metrics"],
    }
    if trained.controls:
        numbers["controls"] = {kind: _numbers(c, store) for kind, c in trained.controls.items()}
    return numbers
