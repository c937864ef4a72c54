"""A run's folder in the store: written for people to open, found again by the names they use."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.environment import describe
from tasks.exported import KERAS_FILE, MODEL_FILE, model_files
from tasks.kept import load_evaluation, load_model, report_files
from tasks.store import Damaged, Missing, Ref, open_store
from tasks.store.base import sha256_of
from tasks.vision.errors import BadInput
from tasks.vision.events import event_file
from tasks.vision.model import Card, Tensors, unpack
from tasks.vision.recipe import Recipe, nearest


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


def run_names(store: str) -> list[str]:
    """Names of finished runs, the newest last: names begin with the time."""
    keys = open_store(store).keys("runs")
    return sorted({key.split("/")[1] for key in keys if key.endswith("/run.json")})


def all_runs(store: str) -> list[dict[str, Any]]:
    """Summaries of all finished runs, the newest last."""
    return [_read_summary(store, name) for name in run_names(store)]


def last_runs(store: str, most: int) -> list[dict[str, Any]]:
    """Summaries of at most so many runs, the newest last; damaged ones are left out."""
    found = []
    for name in run_names(store)[-most:]:
        with suppress(BadInput):
            found.append(_read_summary(store, name))
    return found


def find_run(store: str, run: str) -> dict[str, Any]:
    """The summary of one run by its name, or of the `latest`.

    Raises:
        BadInput: there is no such run.
    """
    names = run_names(store)
    if not names:
        raise BadInput(f"run {run!r}: the store {store} holds no run yet; try: relevo run")
    if run == "latest":
        return _read_summary(store, names[-1])
    if run not in names:
        raise BadInput(f"run {run!r}{nearest(run, names)}")
    return _read_summary(store, run)


def find_model(store: str, given: str) -> tuple[Card, Tensors]:
    """Card and tensors of `RUN/STAGE`, or of an exported model folder by its path or URI.

    Raises:
        BadInput: there is no such run, stage or folder, or its file is no model.
    """
    folder = Path(given)
    if (folder / MODEL_FILE).is_file():
        return unpack((folder / MODEL_FILE).read_bytes(), str(folder / MODEL_FILE))
    if given.startswith("s3://"):
        return unpack(open_store(given).read(MODEL_FILE), given)
    if (folder / KERAS_FILE).is_file():
        raise BadInput(
            f"model {given!r}: {KERAS_FILE} is for other programs, and {MODEL_FILE} isn't beside it; "
            "give RUN/STAGE, e.g. latest/baseline, or a run's own folder models/STAGE"
        )
    run, slash, stage = given.rpartition("/")
    if not slash or folder.is_absolute() or folder.exists():
        raise BadInput(
            f"model {given!r}: expected RUN/STAGE, e.g. latest/baseline, or an exported folder"
        )
    name, home = find_run(store, run)["run"], open_store(store)
    models = read_lineage(store, name)["models"]
    if stage not in models:
        raise BadInput(f"stage {stage!r} of run {name}{nearest(stage, models)}")
    ref = Ref.model_validate(models[stage])
    try:
        return unpack(home.fetch(ref).read_bytes(), ref.uri)
    except (Missing, Damaged) as error:
        raise BadInput(f"{error}; run its recipe again, which trains it anew") from None


def read_lineage(store: str, name: str) -> dict[str, Any]:
    """Refs of all that a run was made from and led to, and the hash of each file in its folder.

    Raises:
        BadInput: the run's lineage.json is missing or damaged.
    """
    summary = _read_summary(store, name)
    try:
        content = open_store(store).read(f"runs/{name}/lineage.json")
        if sha256_of(content)[0] != summary["lineage"]:
            raise ValueError("its hash is another")
        lineage: dict[str, Any] = json.loads(content)
    except (Missing, ValueError, KeyError):
        raise BadInput(f"run {name!r}: its lineage.json is damaged; run its recipe again") from None
    return lineage


def _read_summary(store: str, name: str) -> dict[str, Any]:
    try:
        summary: dict[str, Any] = json.loads(open_store(store).read(f"runs/{name}/run.json"))
        if summary.pop("sha256") != _seal(summary):
            raise ValueError("its hash is another")
    except (Missing, ValueError, KeyError, AttributeError):
        raise BadInput(
            f"run {name!r}: its run.json is damaged; remove the folder runs/{name}"
        ) from None
    return summary


def run_name(recipe: str, started: datetime) -> str:
    """A name that sorts by time and says what ran."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", recipe).strip("-")[:60] or "recipe"
    return f"{started:%Y%m%d-%H%M%S}-{started.microsecond // 1000:03d}-{plain}"


def as_toml(recipe: Recipe) -> str:
    """The recipe as it ran, in TOML: every default that means something, written out."""
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

    idle = {
        part: {name: each.idle() for name, each in tables.items()}
        for part, tables in (("labels", recipe.labels), ("stages", recipe.stages))
    }
    table("", recipe.model_dump(mode="json", exclude=idle))
    return "\n".join(lines).strip() + "\n"


def _quoted(key: str) -> str:
    plain = key.replace("-", "_")
    return key if plain.isascii() and plain.isidentifier() else json.dumps(key, ensure_ascii=False)


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
    origins = _json(lineage)
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
    }
    full = {**summary, **more}
    home.write(f"{folder}/run.json", _json({**full, "sha256": _seal(full)}))
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


def _seal(summary: dict[str, Any]) -> str:
    return sha256_of(json.dumps(summary, sort_keys=True).encode())[0]


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


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
