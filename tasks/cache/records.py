"""Cached work and its records: what decides a result, and where the result is."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict

from tasks.io.documents import unseal
from tasks.store.base import Ref


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


class Record(BaseModel):
    """What the cache stores of finished work: the ref of its result, and why it has its key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ref: Ref
    ingredients: dict[str, Any]


def read_record(key: str, content: bytes) -> Record:
    """The record of the work with this cache key.

    Raises:
        ValueError: other bytes than were written, or another work's record.
    """
    record = unseal(Record, content)
    if Work(key.rsplit("-", 1)[0], record.ingredients).key != key:
        raise ValueError("it belongs to another key")
    return record
