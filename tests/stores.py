"""Small stores made by hand: records, runs and ages, where a test needs no training."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tasks.keys import Done, Work
from tasks.keys import seal as sealed
from tasks.runs import sealed as run_file
from tasks.store import Ref, open_store
from tasks.store.base import sha256_of


def keep(store: Path, ref: Ref, task: str = "train", **ingredients: Any) -> str:
    """A cache record that points to `ref`, as Prefect would have it written; returns its key."""
    done = Done(ref=ref, ingredients=ingredients)
    record = {
        "metadata": {"serializer": {"type": "json", "object_decoder": None}},
        "result": done.model_dump_json(),
    }
    key = f"cache/{Work(task, ingredients).key}.json"
    open_store(store).write(key, sealed(json.dumps(record).encode()))
    return key


def finish_run(
    store: Path, name: str, started: datetime | None = None, models: dict[str, Ref] | None = None
) -> Path:
    """A run folder with a summary, lineage and one page; returns the folder."""
    home = open_store(store)
    page = b"<html></html>"
    home.write(f"runs/{name}/report.html", page)
    lineage = {
        "files": {"report.html": sha256_of(page)[0]},
        "models": {stage: ref.model_dump(mode="json") for stage, ref in (models or {}).items()},
    }
    origins = json.dumps(lineage).encode()
    home.write(f"runs/{name}/lineage.json", origins)
    summary = {
        "run": name,
        "recipe": "digits",
        "seconds": 1.0,
        "device": "cpu",
        "stages": {},
        "started": (started or datetime.now(UTC)).isoformat(),
        "lineage": sha256_of(origins)[0],
    }
    home.write(f"runs/{name}/run.json", run_file(summary))
    return store / "runs" / name


def make_old(store: Path, days: float, *keys: str) -> None:
    """Files as if they had been written so many days ago; without keys, all of the store's."""
    then = (datetime.now(UTC) - timedelta(days=days)).timestamp()
    paths = [store / key for key in keys] or [p for p in store.rglob("*") if p.is_file()]
    for path in paths:
        os.utime(path, (then, then))
