"""Small stores made by hand: records, runs and ages, where a test needs no training."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tasks.cache.records import Done, Work
from tasks.cache.records import seal as sealed
from tasks.runs.summary import sealed as run_file
from tasks.store.base import Ref, Store, sha256_of
from tasks.store.opening import open_store
from tasks.store.own import MARKED, MARKER

BAD_KEYS = [
    "",
    "/",
    "/etc/passwd",
    "../x",
    "a/../x",
    "a/./x",
    ".",
    "a//b",
    "a/",
    "a b",
    "a\n",
    "ä",
    "a\\b",
    "a\0",
]


def mark(store: Path) -> Store:
    """The store, with relevo's marker."""
    home = open_store(store)
    home.write(MARKER, MARKED)
    return home


def keep(store: Path, ref: Ref, task: str = "train", **ingredients: Any) -> str:
    """A cache record that points to `ref`, as a run would have it written; returns its key."""
    done = Done(ref=ref, ingredients=ingredients)
    key = f"cache/{Work(task, ingredients).key}.json"
    home = mark(store)
    home.write(key, sealed(done.model_dump_json().encode()))
    return key


def finish_run(
    store: Path, name: str, started: datetime | None = None, models: dict[str, Ref] | None = None
) -> Path:
    """A run folder with a summary, lineage and one page; returns the folder."""
    home = mark(store)
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
