"""Integrity check of a store: every file against the hash recorded for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise

from tasks.cache.cache import Cache
from tasks.io.checkpoints import is_whole
from tasks.io.documents import read_ref, unseal
from tasks.io.locations import existing_store
from tasks.io.prepared import blobs_beside
from tasks.runs.aliases.history import History, alias_names
from tasks.runs.listing import is_run
from tasks.runs.stage_result import StageResult
from tasks.runs.summary import UNFINISHED, read_lineage
from tasks.runs.sweeps.record import read_sweep, sweep_names
from tasks.runs.watch_record import Watch, watch_names
from tasks.store.base import (
    MAX_ARRAYS,
    Damaged,
    Entry,
    Missing,
    Oversized,
    Ref,
    Store,
    StoreError,
    Unavailable,
)
from tasks.store.keys import BLOB_FOLDERS, is_own
from tasks.store.marker import MARKER, is_marked
from tasks.vision.errors import BadInput

PUBLISHING = timedelta(hours=1)  # longest time between two files while a run is published


@dataclass(frozen=True)
class Checked:
    """A checked entry of the store and its fault, if any."""

    key: str
    fault: str | None = None


def check_all(store: str) -> Iterator[Checked]:
    """Check every blob, record, checkpoint, stage's result, alias, run, sweep and watch, in this order.

    Safe while runs or `gc` work on the store: entries that vanish after they are listed are skipped.
    `damaged/` is not checked, nor are files that relevo has not written.

    Raises:
        BadInput: there is no such store. StoreError: it is unavailable.
    """
    home = existing_store(store)
    if home.top() and not is_marked(home):
        yield Checked(MARKER, "it is missing or damaged; the next run on this store writes it")
    sizes = {entry.key: entry.size for folder in BLOB_FOLDERS for entry in _own(home, folder)}
    for key in sizes:
        yield from _if_there(home, key, partial(_blob, home, key, sizes))
    for entry in _own(home, "cache"):
        yield from _if_there(home, entry.key, partial(_record, home, entry.key, sizes))
    for entry in _own(home, "checkpoints"):
        yield from _if_there(home, entry.key, partial(_checkpoint, home, entry.key))
    for entry in _own(home, "outcomes"):
        yield from _if_there(home, entry.key, partial(_outcome, home, entry.key))
    for alias in alias_names(home):
        yield from _alias(History.of(home, alias), sizes)
    yield from _runs(home)
    for name in sweep_names(home):
        yield from _if_there(home, f"sweeps/{name}/sweep.json", partial(_sweep, home, name))
    for name in watch_names(home):
        watch = Watch.of(home, name)
        for number in watch.numbers:
            yield from _if_there(home, watch.key(number), partial(_readable, watch.read, number))
        yield from _if_there(home, watch.look_key, partial(_readable, watch.read_look))


def _own(home: Store, folder: str) -> Iterator[Entry]:
    return (entry for entry in home.entries(folder) if is_own(entry.key))


def _if_there(home: Store, key: str, fault_of: Callable[[], str | None]) -> Iterator[Checked]:
    try:
        fault = fault_of()
        if fault:
            home.entry(key)
    except Missing:
        return
    except Oversized as error:
        fault = str(error)
    yield Checked(key, fault)


def _blob(home: Store, key: str, sizes: dict[str, int]) -> str | None:
    if key.endswith(".json"):
        return _pointer(home, key, sizes)
    named = key.split("/")[-1].split(".")[0]
    try:
        same = home.sha256(key) == named
    except (Unavailable, Missing):
        raise
    except StoreError as error:
        return str(error)
    return None if same else "its content does not match the hash in its name"


def _pointer(home: Store, key: str, sizes: dict[str, int]) -> str | None:
    try:
        return _missing(home, read_ref(home.read(key)), sizes)
    except ValueError:
        return "it is not a ref; it will be written again"


def _record(home: Store, key: str, sizes: dict[str, int]) -> str | None:
    try:
        record = Cache(home).read(key)
    except ValueError as error:
        return f"{error}; it will not be used"
    with suppress(Missing, Damaged, BadInput):  # which is the blob's own fault
        for blob in blobs_beside(record.ref, home):
            if fault := _missing(home, blob, sizes):
                return fault
    return _missing(home, record.ref, sizes)


def _outcome(home: Store, key: str) -> str | None:
    try:
        unseal(StageResult, home.read(key))
    except ValueError as error:
        return f"{error}; the stage counts as failed"
    return None


def _alias(history: History, sizes: dict[str, int]) -> Iterator[Checked]:
    """Check the records of an alias: each, that none is missing, and that the model in use is there."""
    for previous, number in pairwise((0, *history.numbers)):
        if number != previous + 1:
            yield Checked(history.key(previous + 1), "it is missing from the history")
        fault_of = partial(_alias_record, history, number, sizes)
        yield from _if_there(history.home, history.key(number), fault_of)


def _alias_record(history: History, number: int, sizes: dict[str, int]) -> str | None:
    try:
        record = history.read(number)
    except ValueError as error:
        return f"{error}; it will not be used"
    in_use = number == history.numbers[-1]
    gone = in_use and _missing(history.home, record.model.ref, sizes)
    return f"its model {record.model} is missing or damaged; promote another" if gone else None


def _sweep(home: Store, name: str) -> str | None:
    try:
        page = read_sweep(home, name).page_sha256
    except BadInput as error:
        return str(error)
    try:
        same = home.sha256(f"sweeps/{name}/sweep.html") == page
    except Missing:
        return "its page sweep.html is missing"
    return None if same else "the hash of its page sweep.html differs"


def _readable(read: Callable[..., object], *arguments: int) -> str | None:
    try:
        read(*arguments)
    except ValueError as error:
        return f"{error}; it will not be used"
    return None


def _checkpoint(home: Store, key: str) -> str | None:
    return None if is_whole(home.read(key, MAX_ARRAYS)) else "its hash differs; it will be skipped"


def _missing(home: Store, ref: Ref, sizes: dict[str, int]) -> str | None:
    """Fault of a ref: its target is missing or has another size; hashes are checked with the blobs."""
    if sizes.get(ref.uri) == ref.size:
        return None
    try:
        size = home.entry(ref.uri).size
    except Missing:
        return f"{ref.uri} is missing; it will be computed again"
    return None if size == ref.size else f"{ref.uri} has {size} bytes, not {ref.size}"


def _runs(home: Store) -> Iterator[Checked]:
    youngest: dict[str, datetime] = {}
    finished, begun = set(), set()
    for entry in home.entries("runs"):
        _, name, *below = entry.key.split("/", 2)
        if below:
            youngest[name] = max(youngest.get(name, entry.modified), entry.modified)
            finished |= {name} if below == ["run.json"] else set()
            begun |= {name} if below == [UNFINISHED] else set()
    for name, written in youngest.items():
        if name in finished or _exists(home, f"runs/{name}/run.json"):
            if is_run(home, name):
                yield from _run(home, name)
        elif name in begun and datetime.now(UTC) - written > PUBLISHING:
            yield Checked(f"runs/{name}", "it was never finished: it has no run.json")


def _run(home: Store, name: str) -> Iterator[Checked]:
    folder = f"runs/{name}"
    summary = f"{folder}/run.json"
    try:
        files = read_lineage(home, name).files
    except BadInput as error:
        if _exists(home, summary):  # `gc` deletes it first
            yield Checked(folder, str(error))
        return
    for path, sha256 in files.items():
        try:
            same = home.sha256(f"{folder}/{path}") == sha256
            yield Checked(f"{folder}/{path}", None if same else "its hash differs")
        except Missing:
            if not _exists(home, summary):
                return
            yield Checked(f"{folder}/{path}", "it is missing")
        except ValueError as error:
            yield Checked(folder, str(error))


def _exists(home: Store, key: str) -> bool:
    with suppress(Missing):
        return bool(home.entry(key))
    return False
