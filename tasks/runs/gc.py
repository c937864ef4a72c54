"""What no kept run reaches leaves the store; what may be in use stays, and what is not relevo's own.

In use is whatever was written, or found by a run as a cached result, within the last 14 days, and all that
it was made from: a stage may take a day, its run several, and one that waits for a worker still longer.
Pointers are removed before the bytes that they point to, so that a stop at any instant leaves a whole store.
A folder or a bucket may be shared: only what has a name of relevo's own form is removed, from a store that
has relevo's marker, and from a bucket only what has relevo's mark.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tasks.cache.cache import Cache
from tasks.runs.lookup import is_run, is_whole, run_names
from tasks.runs.summary import UNFINISHED, read_lineage
from tasks.store.base import Entry, Missing, Ref, Store
from tasks.store.keys import BLOB_FOLDERS, FOLDERS, is_own
from tasks.store.marker import MARKER, is_marked
from tasks.store.opening import open_store
from tasks.vision.errors import BadInput

GRACE_PERIOD = timedelta(
    days=14
)  # a training that was stopped may be taken up again until then, too
INCOMPLETE_AFTER = timedelta(days=1)  # what nobody will read: no single write takes so long
UNITS = {"h": "hours", "d": "days", "w": "weeks"}


@dataclass
class Sweep:
    """What was removed, or would be; and the keys of what relevo has not written, which stays."""

    runs: list[str] = field(default_factory=list)
    removed: list[Entry] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes freed."""
        return sum(entry.size for entry in self.removed)


def age(given: str) -> timedelta:
    """'30d', '12h' or '4w' as a duration; BadInput for anything else."""
    found = re.fullmatch(r"(\d{1,5})([hdw])", given.strip())
    if not found:
        raise BadInput(f"age {given!r}: expected a number and h, d or w, e.g. 30d")
    return timedelta(**{UNITS[found[2]]: int(found[1])})


def collect(
    store: str,
    *,
    keep_last: int | None = None,
    older_than: timedelta | None = None,
    dry_run: bool = False,
    now: datetime | None = None,
) -> Sweep:
    """Remove old runs, then everything that no run left reaches and that is no more in use.

    What only a removed run needed is removed once it has not been in use for `GRACE_PERIOD`.

    Args:
        keep_last: keep this many of the newest runs. older_than: keep what is younger. A run goes only
            if every rule given lets it go; with none, every finished run stays. Tables of predictions
            belong to no run, and go by their age alone.

    Raises:
        BadInput: the store has no marker, so that nothing in it can be proven to be relevo's.
    """
    home, sweep = open_store(store), Sweep()
    now = now or datetime.now(UTC)
    if not is_marked(home):
        raise BadInput(
            f"store {home.uri}: it has no {MARKER}, so that what lies there may be other people's; "
            "nothing is removed. If it is a store of relevo 0.1.0, `relevo run` on it writes the file"
        )

    def remove(entries: Iterable[Entry], least: timedelta = timedelta()) -> None:
        """Delete what is relevo's own and at least so old, and is so still when its turn comes."""
        for entry in entries:
            if not is_own(entry.key) or entry.modified >= now - least:
                continue
            with suppress(Missing):
                seen = home.entry(entry.key)
                if not seen.marked:
                    sweep.foreign.append(entry.key)
                elif seen.modified < now - least:
                    if not dry_run:
                        home.delete(entry.key)
                    sweep.removed.append(entry)

    sweep.foreign += [key for folder in FOLDERS for key in home.keys(folder) if not is_own(key)]
    names = [name for name in run_names(store) if is_run(home, name)]
    sound = [name for name in names if is_whole(home, name)]
    sweep.runs = _old(home, sound, keep_last, older_than, now)
    for name in sweep.runs:
        # What makes it a run goes first.
        files = sorted(
            home.entries(f"runs/{name}"), key=lambda entry: not entry.key.endswith("/run.json")
        )
        remove(files)
    kept = [name for name in names if name not in sweep.runs]
    remove(_halves(home), INCOMPLETE_AFTER)

    reached, cache = _reached_by_runs(home, kept), Cache(home)
    records = {entry.key: entry for entry in cache.entries()}
    refs = {key: ref for key in records if (ref := _ref_in(cache, key))}
    unreached = (
        entry for key, entry in records.items() if key not in refs or refs[key].uri not in reached
    )
    remove(unreached, GRACE_PERIOD)
    # Looked at again, since a run may have found one of them meanwhile.
    for entry in cache.entries():
        if now - entry.modified <= GRACE_PERIOD and (
            ref := refs.get(entry.key) or _ref_in(cache, entry.key)
        ):
            reached |= set(_closure(ref))
    for folder in BLOB_FOLDERS:
        remove((entry for entry in home.entries(folder) if entry.key not in reached), GRACE_PERIOD)
    if older_than is not None:
        remove(home.entries("predictions"), older_than)
    for folder in ("checkpoints", "outcomes"):
        remove(home.entries(folder), GRACE_PERIOD)
    remove(home.entries("damaged"), INCOMPLETE_AFTER)
    remove(home.unfinished(), INCOMPLETE_AFTER)
    sweep.removed += home.drop_uploads(now - INCOMPLETE_AFTER, dry_run=dry_run)
    return sweep


def _old(
    home: Store,
    names: list[str],
    keep_last: int | None,
    older_than: timedelta | None,
    now: datetime,
) -> list[str]:
    """The runs that every given rule lets go; `names` are sorted, the oldest first."""
    if keep_last is None and older_than is None:
        return []
    going = names if keep_last is None else names[: max(0, len(names) - keep_last)]
    if older_than is not None:
        limit = now - older_than
        going = [name for name in going if _finished(home, name) < limit]
    return going


def _finished(home: Store, name: str) -> datetime:
    found = [e.modified for e in home.entries(f"runs/{name}") if e.key.endswith("/run.json")]
    return max(found, default=datetime.now(UTC))


def _halves(home: Store) -> Iterator[Entry]:
    """Files of run folders whose writing was cut off, or is not done: they say so themselves."""
    files: dict[str, list[Entry]] = {}
    for entry in home.entries("runs"):
        _, name, *below = entry.key.split("/")
        if below:
            files.setdefault(name, []).append(entry)
    for name, entries in files.items():
        paths = {entry.key.removeprefix(f"runs/{name}/") for entry in entries}
        if UNFINISHED in paths and "run.json" not in paths:
            # What says that the rest is half a run goes last.
            yield from sorted(entries, key=lambda entry: entry.key.endswith(UNFINISHED))


def _ref_in(cache: Cache, key: str) -> Ref | None:
    try:
        return cache.read(key).ref
    except (Missing, ValueError):
        return None


def _reached_by_runs(home: Store, names: list[str]) -> set[str]:
    """The keys of everything that these runs were made from or led to.

    Raises:
        BadInput: a run's lineage is damaged, so that nobody can say what it needs.
    """
    refs = (ref for name in names for ref in read_lineage(home, name).refs())
    return {key for ref in refs for key in _closure(ref)}


def _closure(ref: Ref) -> Iterator[str]:
    yield ref.uri
    for origin in ref.made_from:
        yield from _closure(origin)
