"""Runs and models that a store holds, found by the names that people use for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tasks.store import Missing, Ref, open_store
from tasks.vision.errors import BadInput
from tasks.vision.model import Card, Tensors, unpack
from tasks.vision.recipe import nearest

MODEL_FILE = "model.safetensors"


def run_names(store: str) -> list[str]:
    """Names of finished runs, the newest last: names begin with the time."""
    keys = open_store(store).keys("runs")
    return sorted({key.split("/")[1] for key in keys if key.endswith("/run.json")})


def all_runs(store: str) -> list[dict[str, Any]]:
    """Summaries of all finished runs, the newest last."""
    return [_summary(store, name) for name in run_names(store)]


def find_run(store: str, run: str) -> dict[str, Any]:
    """The summary of one run by its name, or of the `latest`.

    Raises:
        BadInput: there is no such run.
    """
    names = run_names(store)
    if not names:
        raise BadInput(f"run {run!r}: the store {store} holds no run yet; try: relevo run")
    if run == "latest":
        return _summary(store, names[-1])
    if run not in names:
        raise BadInput(f"run {run!r}{nearest(run, names)}")
    return _summary(store, run)


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
    run, slash, stage = given.rpartition("/")
    if not slash or folder.is_absolute() or folder.exists():
        raise BadInput(
            f"model {given!r}: expected RUN/STAGE, e.g. latest/baseline, or an exported folder"
        )
    name = find_run(store, run)["run"]
    home = open_store(store)
    models = json.loads(home.read(f"runs/{name}/lineage.json"))["models"]
    if stage not in models:
        raise BadInput(f"stage {stage!r} of run {name}{nearest(stage, models)}")
    ref = Ref.model_validate(models[stage])
    return unpack(home.fetch(ref).read_bytes(), ref.uri)


def _summary(store: str, name: str) -> dict[str, Any]:
    try:
        summary: dict[str, Any] = json.loads(open_store(store).read(f"runs/{name}/run.json"))
    except (Missing, ValueError):
        raise BadInput(
            f"run {name!r}: its run.json is damaged; remove the folder runs/{name}"
        ) from None
    return summary
