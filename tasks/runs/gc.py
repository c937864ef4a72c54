"""Garbage collection by mark and sweep: delete what no retained run reaches.

Anything written or used as a cache hit within the last 14 days is retained with all that it was made from:
a stage may take a day, its run several, and waiting for a worker longer still. So is what an alias names, and
the model before it, with their runs. Pointers are deleted before
the bytes that they point to, so that an interruption leaves a consistent store. Folders and buckets may be
shared: only keys of relevo's own form are deleted, in a store with relevo's marker, and in a bucket only
objects with relevo's mark.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain

from tasks.cache.cache import TOUCH_EVERY, Cache
from tasks.io.prepared import blobs_beside
from tasks.runs.aliases.history import aliased_models
from tasks.runs.listing import has_summary, is_run, run_names
from tasks.runs.summary import UNFINISHED, read_lineage
from tasks.runs.sweeps.record import read_sweep, sweep_names
from tasks.store.base import Damaged, Entry, Missing, Ref, Store
from tasks.store.keys import BLOB_FOLDERS, FOLDERS, is_own
from tasks.store.marker import MARKER, is_marked
from tasks.store.opening import open_store
from tasks.vision.errors import BadInput

GRACE_PERIOD = timedelta(days=14)  # interrupted training can be resumed until then, too
INCOMPLETE_AFTER = timedelta(days=1)  # no single write takes this long


@dataclass
class Collected:
    """Result of a collection.

    Attributes:
        runs: names of the removed runs. removed: entries that were, or would be, deleted.
        foreign: keys that relevo has not written, which stay.
        in_use: runs that stay only since an alias names a model of theirs, and these aliases.
    """

    runs: list[str] = field(default_factory=list)
    removed: list[Entry] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    in_use: dict[str, list[str]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes freed."""
        return sum(entry.size for entry in self.removed)


def collect(
    store: str,
    *,
    keep_last: int | None = None,
    older_than: timedelta | None = None,
    dry_run: bool = False,
    now: datetime | None = None,
) -> Collected:
    """Delete old runs, then everything that no remaining run reaches and that is not in use.

    Data that only a deleted run needed is deleted after `GRACE_PERIOD` without use.

    Args:
        keep_last: number of newest runs to retain. older_than: minimum age of what is deleted. If both
            are given, a run must meet both; if neither is, all finished runs stay. Tables of
            predictions, pages of checks and sweeps belong to no run: only their age counts.
        dry_run: report what would be deleted, delete nothing.

    Raises:
        BadInput: the store has no marker, so nothing in it is known to be relevo's; or an alias's last
            record or a run's lineage is damaged, so what it needs is unknown.
    """
    home, done = open_store(store), Collected()
    now = now or datetime.now(UTC)
    if not is_marked(home):
        raise BadInput(
            f"store {home.uri}: it has no {MARKER}, so its content may be other people's; "
            "nothing is removed. If a relevo without such files wrote it, `relevo run` on it adds the file"
        )

    def remove(entries: Iterable[Entry], least: timedelta = timedelta()) -> None:
        """Delete relevo's own entries of this age; the age is checked again right before deletion."""
        for entry in entries:
            if not is_own(entry.key) or entry.modified >= now - least:
                continue
            with suppress(Missing):
                seen = home.entry(entry.key)
                if not seen.marked:
                    done.foreign.append(entry.key)
                elif seen.modified < now - least:
                    if not dry_run:
                        home.delete(entry.key)
                    done.removed.append(entry)

    done.foreign += [key for folder in FOLDERS for key in home.keys(folder) if not is_own(key)]
    found = run_names(store)
    sound = [name for name in found if has_summary(home, name)]
    names = [name for name in found if name in sound or is_run(home, name)]
    aliased = aliased_models(home)
    expired = _expired_runs(home, sound, keep_last, older_than, now)
    for name in expired:
        if by := [alias for alias, models in aliased.items() if name in {m.run for m in models}]:
            done.in_use[name] = by
    done.runs = [name for name in expired if name not in done.in_use]
    for name in done.runs:
        # run.json goes first: a folder without it is no run.
        files = sorted(
            home.entries(f"runs/{name}"), key=lambda entry: not entry.key.endswith("/run.json")
        )
        remove(files)
    retained = [name for name in names if name not in done.runs]
    remove(_incomplete_runs(home), INCOMPLETE_AFTER)
    all_sweeps = sweep_names(home)
    sweeps = _retained_sweeps(home, all_sweeps, now - older_than if older_than else None)
    pages = (e for e in home.entries("sweeps") if e.key.split("/")[1] not in all_sweeps)
    remove(pages, INCOMPLETE_AFTER)
    for name in all_sweeps:
        if name not in sweeps:
            # The page goes last: without sweep.json it is no sweep.
            remove(
                sorted(home.entries(f"sweeps/{name}"), key=lambda entry: entry.key, reverse=True)
            )

    runs = (ref for name in retained for ref in read_lineage(home, name).refs())
    swept = (ref for name in sweeps for ref in read_sweep(home, name).refs())
    reached, cache = _reached(home, chain(runs, swept)), Cache(home)
    reached |= {each.ref.uri for models in aliased.values() for each in models}
    record_grace = GRACE_PERIOD + TOUCH_EVERY  # a hit may not have touched a younger record
    records = {entry.key: entry for entry in cache.entries()}
    refs = {key: ref for key in records if (ref := _ref_in(cache, key))}
    unreached = (
        entry for key, entry in records.items() if key not in refs or refs[key].uri not in reached
    )
    remove(unreached, record_grace)
    # Listed again: a run may have used one of them meanwhile.
    for entry in cache.entries():
        if now - entry.modified <= record_grace and (
            ref := refs.get(entry.key) or _ref_in(cache, entry.key)
        ):
            reached |= set(_closure(ref, home))
    for folder in BLOB_FOLDERS:
        remove((entry for entry in home.entries(folder) if entry.key not in reached), GRACE_PERIOD)
    if older_than is not None:
        for folder in ("pages", "predictions"):
            remove(home.entries(folder), older_than)
    for folder in ("checkpoints", "machines", "outcomes", "searches"):
        remove(home.entries(folder), GRACE_PERIOD)
    remove(home.entries("damaged"), INCOMPLETE_AFTER)
    remove(home.unfinished(), INCOMPLETE_AFTER)
    done.removed += home.drop_uploads(now - INCOMPLETE_AFTER, dry_run=dry_run)
    return done


def _expired_runs(
    home: Store,
    names: list[str],
    keep_last: int | None,
    older_than: timedelta | None,
    now: datetime,
) -> list[str]:
    """Names of the runs to delete; `names` are sorted, the oldest first."""
    if keep_last is None and older_than is None:
        return []
    expired = names if keep_last is None else names[: max(0, len(names) - keep_last)]
    if older_than is not None:
        limit = now - older_than
        expired = [name for name in expired if _finished(home, name) < limit]
    return expired


def _finished(home: Store, name: str) -> datetime:
    found = [e.modified for e in home.entries(f"runs/{name}") if e.key.endswith("/run.json")]
    return max(found, default=datetime.now(UTC))


def _incomplete_runs(home: Store) -> Iterator[Entry]:
    """Files of run folders with UNFINISHED and without run.json: interrupted or still being written."""
    files: dict[str, list[Entry]] = {}
    for entry in home.entries("runs"):
        _, name, *below = entry.key.split("/")
        if below:
            files.setdefault(name, []).append(entry)
    for name, entries in files.items():
        paths = {entry.key.removeprefix(f"runs/{name}/") for entry in entries}
        if UNFINISHED in paths and "run.json" not in paths:
            # UNFINISHED goes last: it marks the rest as incomplete.
            yield from sorted(entries, key=lambda entry: entry.key.endswith(UNFINISHED))


def _ref_in(cache: Cache, key: str) -> Ref | None:
    try:
        return cache.read(key).ref
    except (Missing, ValueError):
        return None


def _retained_sweeps(home: Store, names: list[str], before: datetime | None) -> list[str]:
    """Names of the sweeps to retain: all, or those that finished since `before`."""
    if before is None:
        return names
    return [name for name in names if home.entry(f"sweeps/{name}/sweep.json").modified >= before]


def _reached(home: Store, refs: Iterable[Ref]) -> set[str]:
    """Keys of everything that runs and sweeps with these refs were made from or produced."""
    distinct = {ref.uri: ref for ref in refs}.values()
    return {key for ref in distinct for key in _closure(ref, home)}


def _closure(ref: Ref, home: Store) -> Iterator[str]:
    yield ref.uri
    # Of a data set that is damaged, or of an earlier version, there is nothing to retain.
    with suppress(Missing, Damaged, BadInput):
        yield from (blob.uri for blob in blobs_beside(ref, home))
    for origin in ref.made_from:
        yield from _closure(origin, home)
