"""Is the store whole? Every byte in it, against the hash that something else says it has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tasks.checkpoints import is_whole
from tasks.keys import Work, read_record, unseal
from tasks.runs import read_lineage
from tasks.store import Missing, Ref, Store, StoreError, open_store
from tasks.store.base import Passing
from tasks.vision.errors import BadInput

BLOBS = ("datasets", "models", "evaluations", "exports", "reports", "downloads")


@dataclass(frozen=True)
class Checked:
    """One thing in the store, and what is wrong with it (None: nothing)."""

    key: str
    fault: str | None = None


def check_all(store: str) -> Iterator[Checked]:
    """Every blob, cache record, checkpoint and run in the store, in this order.

    What was set aside before (`damaged/`) is out of use and not looked at.

    Raises:
        StoreError: the store is out of reach.
    """
    home = open_store(store)
    sizes = {entry.key: entry.size for folder in BLOBS for entry in home.entries(folder)}
    for key in sizes:
        yield _pointer(home, key, sizes) if key.endswith(".json") else _blob(home, key)
    for key in home.keys("cache"):
        yield _record(home, key, sizes)
    for key in home.keys("checkpoints"):
        whole = is_whole(home.read(key))
        yield Checked(key, None if whole else "its hash is another; it will be passed over")
    yield from _runs(home, store)


def _blob(home: Store, key: str) -> Checked:
    named = key.split("/")[-1].split(".")[0]
    try:
        same = home.sha256(key) == named
    except Passing:
        raise
    except StoreError as error:
        return Checked(key, str(error))
    return Checked(key, None if same else "its bytes are not those that its name promises")


def _pointer(home: Store, key: str, sizes: dict[str, int]) -> Checked:
    try:
        return Checked(key, _missing(Ref.model_validate_json(home.read(key)), sizes))
    except (Missing, ValueError):
        return Checked(key, "it is no ref; it will be written anew")


def _record(home: Store, key: str, sizes: dict[str, int]) -> Checked:
    name = key.removeprefix("cache/").removesuffix(".json")
    try:
        done = read_record(unseal(home.read(key)))
        if Work(name.rsplit("-", 1)[0], done.ingredients).key != name:
            raise ValueError("it belongs to another key")
    except ValueError as error:
        return Checked(key, f"{error}; it will not be used")
    return Checked(key, _missing(done.ref, sizes))


def _missing(ref: Ref, sizes: dict[str, int]) -> str | None:
    """What is wrong with where a ref points to, but for the bytes' own hash."""
    if ref.uri not in sizes:
        return f"{ref.uri} is gone; it will be computed again"
    if sizes[ref.uri] != ref.size:
        return f"{ref.uri} has {sizes[ref.uri]} bytes, not {ref.size}"
    return None


def _runs(home: Store, store: str) -> Iterator[Checked]:
    there: dict[str, set[str]] = {}
    for key in home.keys("runs"):
        _, name, *below = key.split("/", 2)
        if below:
            there.setdefault(name, set()).add(below[0])
    for name, paths in there.items():
        folder = f"runs/{name}"
        if "run.json" not in paths:
            yield Checked(folder, "it was never finished: it has no run.json")
            continue
        try:
            files: dict[str, Any] = read_lineage(store, name)["files"]
        except (BadInput, json.JSONDecodeError, KeyError) as error:
            yield Checked(folder, str(error))
            continue
        for path, sha256 in files.items():
            try:
                same = home.sha256(f"{folder}/{path}") == sha256
                yield Checked(f"{folder}/{path}", None if same else "it was changed")
            except Missing:
                yield Checked(f"{folder}/{path}", "it is gone")
