"""A finished run's folder in the store, written for people to open."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from prefect.runtime import flow_run

from tasks.environment import describe
from tasks.exported import model_files
from tasks.kept import load_evaluation, load_model, report_files
from tasks.runs import UNFINISHED, as_json, sealed, stamp
from tasks.store import Ref, open_store
from tasks.store.base import sha256_of
from tasks.vision.events import event_file
from tasks.vision.recipe import Recipe


@dataclass(frozen=True)
class Trained:
    """A finished stage: its model, its scores, how it came about, and what it is measured against.

    `exported` is the model as a .keras file; controls have none.
    """

    start: str | None
    state: str
    model: Ref
    scores: Ref
    exported: Ref | None = None
    controls: dict[str, Trained] = field(default_factory=dict)

    def refs(self) -> dict[str, Any]:
        """The refs as JSON, controls included: what the report is made from."""
        return {
            "start": self.start,
            "model": self.model.model_dump(mode="json"),
            "evaluation": self.scores.model_dump(mode="json"),
            "controls": {kind: control.refs() for kind, control in self.controls.items()},
        }


def run_name(recipe: str, started: datetime) -> str:
    """A name that sorts by time and says what ran."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", recipe).strip("-")[:60] or "recipe"
    return f"{stamp(started)}-{plain}"


def as_toml(recipe: Recipe) -> str:
    """The recipe as it ran, in TOML: every default that means something, written out."""
    lines: list[str] = []

    def table(path: str, values: dict[str, Any]) -> None:
        plain = {k: v for k, v in values.items() if not isinstance(v, dict) and v is not None}
        nested = {k: v for k, v in values.items() if isinstance(v, dict)}
        if path and (plain or not nested):
            lines.append(f"\n[{path}]")
        lines.extend(f"{_quoted(key)} = {toml_value(value)}" for key, value in plain.items())
        for key, value in nested.items():
            table(f"{path}.{_quoted(key)}" if path else _quoted(key), value)

    idle = {
        part: {name: each.idle() for name, each in tables.items()}
        for part, tables in (("labels", recipe.labels), ("stages", recipe.stages))
    }
    table("", recipe.model_dump(mode="json", exclude=idle))
    return "\n".join(lines).strip() + "\n"


def _quoted(key: str) -> str:
    plain = key.replace("-", "_")
    return key if plain.isascii() and plain.isidentifier() else toml_value(key)


def toml_value(value: Any) -> str:
    """A value in TOML: JSON, but for its tables and one character."""
    if isinstance(value, dict):
        inside = (f"{toml_value(key)} = {toml_value(part)}" for key, part in value.items())
        return f"{{{', '.join(inside)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml_value, value))}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def publish(
    name: str,
    plan: Recipe,
    source: str,
    data: Ref,
    done: dict[str, Trained],
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


def _curves(stage: str, trained: Trained, store: str, started: datetime) -> tuple[str, bytes]:
    """The stage's history and its test scores as TensorBoard reads them: path and content."""
    card, _ = load_model(trained.model, store)
    metrics = load_evaluation(trained.scores, store)[0]["metrics"]
    scores = {name: metrics[name] for name in ("accuracy", "balanced_accuracy")}
    content = event_file(card.history, scores, started.timestamp())
    return f"tensorboard/{stage}/events.out.tfevents.{int(started.timestamp())}.relevo", content


def devices_of(done: dict[str, Trained], store: str) -> list[str]:
    """What the stages were trained on, each device named once: this machine need not be one of them."""
    trained = [load_model(each.model, store)[0].device for each in done.values()]
    return list(dict.fromkeys(trained))


def _numbers(trained: Trained, store: str) -> dict[str, Any]:
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
