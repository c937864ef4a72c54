"""Finished runs and their models, found again by the names that people use."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from tasks.exported import KERAS_FILE, MODEL_FILE
from tasks.store import Damaged, Missing, Ref, open_store
from tasks.store.base import sha256_of
from tasks.vision.errors import BadInput, nearest
from tasks.vision.model import Card, Tensors, unpack


def run_names(store: str) -> list[str]:
    """Names of finished runs, the newest last: names begin with the time."""
    parts = (key.split("/") for key in open_store(store).keys("runs"))
    return sorted(path[1] for path in parts if path[2:] == ["run.json"])


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
        if summary.pop("sha256") != seal(summary):
            raise ValueError("its hash is another")
    except (Missing, ValueError, KeyError, AttributeError):
        raise BadInput(
            f"run {name!r}: its run.json is damaged; remove the folder runs/{name}"
        ) from None
    return summary


def seal(summary: dict[str, Any]) -> str:
    return sha256_of(json.dumps(summary, sort_keys=True).encode())[0]
