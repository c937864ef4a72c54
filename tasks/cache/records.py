"""Cached work and its records: what a task is asked for, and what the cache keeps of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.store.base import Ref, sha256_of


@dataclass(frozen=True)
class Work:
    """One piece of cached work: what it is, and everything that can change its result."""

    task: str
    ingredients: dict[str, Any]

    @cached_property
    def key(self) -> str:
        """The cache key: the task's name and a digest of the ingredients."""
        canonical = json.dumps(self.ingredients, sort_keys=True, separators=(",", ":"))
        return f"{self.task}-{hashlib.sha256(canonical.encode()).hexdigest()}"


class Done(BaseModel):
    """What a task returns and the cache keeps: the ref, and why it has the key it has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ref: Ref
    ingredients: dict[str, Any]


def seal(record: bytes) -> bytes:
    """A document as it lies in the store: with its SHA-256, so that a changed byte is seen."""
    return json.dumps(
        {"sha256": sha256_of(record)[0], "record": record.decode()}, indent=1
    ).encode()


def unseal(content: bytes) -> bytes:
    """The record that was sealed; ValueError if it isn't the same any more."""
    try:
        sealed = json.loads(content)
        if sealed.keys() != {"sha256", "record"}:
            raise ValueError("it has other keys than a record")
        record: bytes = sealed["record"].encode()
        if sha256_of(record)[0] != sealed["sha256"]:
            raise ValueError("its hash is another")
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"no sealed record ({type(error).__name__})") from None
    return record


def read_record(record: bytes) -> Done:
    """The ref in a record; ValueError for anything that isn't JSON of just this form.

    >>> read_record(b'{"serializer": {"type": "pickle"}, "data": "gASVIAAA"}')
    Traceback (most recent call last):
        ...
    ValueError: no result record (ValidationError)
    """
    try:
        return Done.model_validate_json(record)
    except (ValidationError, RecursionError) as error:
        raise ValueError(f"no result record ({type(error).__name__})") from None
