"""Cached work and its records: what determines a result, and where the result is stored."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tasks.io.documents import unseal
from tasks.store.base import Ref
from tasks.vision.recipe.schema import Strict


@dataclass(frozen=True)
class Work:
    """One piece of cached work: the task, and everything that can change its result."""

    task: str
    ingredients: dict[str, Any]

    @cached_property
    def key(self) -> str:
        """The cache key: the task's name and a digest of the ingredients."""
        canonical = json.dumps(self.ingredients, sort_keys=True, separators=(",", ":"))
        return f"{self.task}-{hashlib.sha256(canonical.encode()).hexdigest()}"


class Record(Strict):
    """A cache record: the ref of the result, and the ingredients of its key."""

    ref: Ref
    ingredients: dict[str, Any]


def read_record(key: str, content: bytes) -> Record:
    """Parse the record of the work with this cache key.

    Raises:
        ValueError: it is damaged, or the record of other work.
    """
    record = unseal(Record, content)
    if Work(key.rsplit("-", 1)[0], record.ingredients).key != key:
        raise ValueError("it belongs to another key")
    return record
