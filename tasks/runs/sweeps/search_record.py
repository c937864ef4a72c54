"""What a search has picked so far, in the store: started again, it goes on with the same settings."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from typing import Annotated

from pydantic import Field, JsonValue

from tasks.io.documents import seal, unseal
from tasks.store.base import Missing, Store
from tasks.vision.recipe.schema import Strict

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]  # of what is searched
Number = Annotated[int, Field(ge=1, le=1000)]  # of settings, in the order in which they were picked


class Stopped(Strict):
    """A training that was stopped early: why, and its validation accuracy after each epoch."""

    reason: str
    curve: tuple[float, ...]


class Picked(Strict):
    """Settings of a search, and what stopped their first training, if anything did."""

    settings: dict[str, JsonValue]
    stopped: Stopped | None = None


def search_digest(*what: JsonValue) -> str:
    """Return the digest of what is searched: images, recipe, settings to pick from, seeds and folds."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def write_picked(store: Store, digest: str, number: int, picked: Picked) -> None:
    """Write the settings of this number."""
    store.write(_key(digest, number), seal(picked))


def read_picked(store: Store, digest: str, number: int) -> Picked | None:
    """Return the settings of this number; None if there are none, or damaged ones."""
    with suppress(Missing, ValueError):
        return unseal(Picked, store.read(_key(digest, number)))
    return None


def picked_before(store: Store, digest: str, most: int) -> list[Picked]:
    """Return the settings that were picked before, in order, up to a number."""
    found: list[Picked] = []
    while len(found) < most and (picked := read_picked(store, digest, len(found) + 1)):
        found.append(picked)
    return found


def _key(digest: str, number: int) -> str:
    return f"searches/{digest}/{number:04d}.json"
