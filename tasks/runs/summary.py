"""A run's summary: written, read, and what it says to those who show it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tasks.progress import duration
from tasks.store.base import Missing, sha256_of
from tasks.store.opening import open_store
from tasks.vision.errors import BadInput

UNFINISHED = "unfinished.json"  # in a run's folder until its summary is written


def took(summary: Mapping[str, Any]) -> str:
    """How long a run took, and on what."""
    where = "a GPU" if summary["device"] == "gpu" else "a processor"
    return f"{duration(summary['seconds'])}, on {where}"


def control_kinds(stages: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The kinds of controls that some stage has, in the order in which they stand beside it."""
    return [*dict.fromkeys(kind for stage in stages.values() for kind in stage.get("controls", {}))]


def stamp(started: datetime) -> str:
    """When a run began, as its name says it: names so made sort by time."""
    return f"{started:%Y%m%d-%H%M%S}-{started.microsecond // 1000:03d}"


def _read_summary(store: str, name: str) -> dict[str, Any]:
    try:
        content = open_store(store).read(f"runs/{name}/run.json")
        summary: dict[str, Any] = json.loads(content)
        del summary["sha256"]
        # Its bytes, since a changed digit may leave a number the same.
        if content != sealed(summary):
            raise ValueError("its hash is another")
    except (Missing, ValueError, KeyError, AttributeError, TypeError, RecursionError):
        raise BadInput(
            f"run {name!r}: its run.json is damaged; remove the folder runs/{name}"
        ) from None
    return summary


def as_json(value: Any) -> bytes:
    """A document for people to read."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def sealed(summary: dict[str, Any]) -> bytes:
    """run.json: the summary and its hash."""
    digest, _ = sha256_of(json.dumps(summary, sort_keys=True).encode())
    return as_json({**summary, "sha256": digest})
