"""Small stores made by hand: records, runs and ages, where a test needs no training."""

from __future__ import annotations

import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from support.results import REF, bare_summary
from tasks.cache.cache import Cache, record_key
from tasks.cache.records import Work
from tasks.io.documents import as_json, seal
from tasks.runs.summary import Lineage, StageSummary
from tasks.store.base import Ref, Store, sha256_of
from tasks.store.local import LocalStore
from tasks.store.marker import MARKER, MARKER_CONTENT
from tasks.store.opening import open_store

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
    home.write(MARKER, MARKER_CONTENT)
    return home


def keep(store: Path, ref: Ref, task: str = "train", **ingredients: Any) -> str:
    """A cache record that points to `ref`, as a run would have it written; returns its key."""
    work = Work(task, ingredients)
    Cache(mark(store)).record(work, ref)
    return record_key(work)


def finish_run(
    store: Path,
    name: str,
    started: datetime | None = None,
    models: dict[str, Ref] | None = None,
    more: dict[str, bytes] | None = None,
    dataset: Ref = REF,
    stages: dict[str, StageSummary] | None = None,
    evaluations: dict[str, Ref] | None = None,
) -> Path:
    """A run folder with a summary, lineage, one page and more files; returns the folder."""
    home = mark(store)
    files = {"report.html": b"<html></html>", **(more or {})}
    for path, content in files.items():
        home.write(f"runs/{name}/{path}", content)
    lineage = Lineage(
        files={path: sha256_of(content)[0] for path, content in files.items()},
        dataset=dataset,
        report=REF,
        models=models or {},
        exports={},
        evaluations=evaluations or {},
        controls={},
    )
    origins = as_json(lineage.model_dump(mode="json"))
    home.write(f"runs/{name}/lineage.json", origins)
    summary = bare_summary(name, started, lineage=sha256_of(origins)[0], stages=stages or {})
    home.write(f"runs/{name}/run.json", seal(summary))
    return store / "runs" / name


def make_old(store: Path, days: float, *keys: str) -> None:
    """Backdate files by this many days; without keys, all files of the store."""
    then = (datetime.now(UTC) - timedelta(days=days)).timestamp()
    paths = [store / key for key in keys] or [p for p in store.rglob("*") if p.is_file()]
    for path in paths:
        os.utime(path, (then, then))


def count_reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each blob of a local store is read from now on, by its key in the store."""
    reads: Counter[str] = Counter()
    fetch = LocalStore.fetch

    def counted(store: LocalStore, ref: Ref) -> Path:
        reads[ref.uri] += 1
        return fetch(store, ref)

    monkeypatch.setattr(LocalStore, "fetch", counted)
    return reads
