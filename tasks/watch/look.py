"""One look at data: what has changed since the last run, and whether a run is to be started.

A run is started when enough has changed, nothing has for a while (500 uploads are one run), and the last run
has ended. One that was killed is started again, three times at most; so the listing to compare with is that
of the last run that finished.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from os.path import expanduser, realpath
from typing import Literal

from tasks.io.locations import BUILT_IN
from tasks.progress import duration
from tasks.runs.listing import is_reserved
from tasks.runs.publish import run_name
from tasks.runs.watch_record import Watch, WatchLook, WatchStart
from tasks.store.addresses import without_secrets
from tasks.store.base import Missing, Store
from tasks.store.marker import mark_store
from tasks.watch.enough import Enough
from tasks.watch.listing import Changes, Listing, list_data

MOST_ATTEMPTS = 3  # with the same files
LATER = timedelta(minutes=2)  # within which a start's run has its lock

# What is known of the last run that was started and has no summary yet.
RunState = Literal["running", "failed", "interrupted"]
Decision = Literal["start", "unchanged", "too few", "settling", "running", "failed"]


@dataclass(frozen=True)
class Look:
    """What a look at data has found, and what it decided.

    Attributes:
        changes: since the last finished run. why: the reason, one line.
        last: the last start, if there was one. again: its run is to be started once more.
    """

    watch: Watch
    data: str
    at: datetime
    listing: Listing
    changes: Changes
    decision: Decision
    why: str
    last: WatchStart | None = None
    again: bool = False

    def begin(self, recipe: str, by: str) -> WatchStart | None:
        """Record that a run is started; None if another watcher was faster.

        Args:
            recipe: its name, which the run's has in it. by: who starts it.
        """
        mark_store(self.watch.home)
        last, listing = self.last, self.listing
        start = WatchStart(
            watch=self.watch.name,
            number=max(self.watch.numbers, default=0) + 1,
            at=datetime.now(UTC),
            by=by,
            run=last.run if self.again and last else run_name(recipe, self.at),
            attempt=last.attempt + 1 if self.again and last else 1,
            data=without_secrets(self.data),
            digest=listing.digest,
            files=len(listing.rows),
            added=self.changes.added,
            removed=self.changes.removed,
            written=self.changes.written,
            whole=listing.whole,
            rows=listing.packed(),
        )
        return start if self.watch.create(start) else None


def state_here(home: Store, start: WatchStart) -> RunState:
    """What became of a run that a process started itself, and that has no summary."""
    if datetime.now(UTC) - start.at < LATER or is_reserved(home, start.run):
        return "running"
    return "interrupted"


def watch_name(recipe: str, data: str) -> str:
    """Return the name of the watch of a recipe and its data: the same on every look."""
    place = data if "://" in data or data in BUILT_IN else realpath(expanduser(data))  # noqa: PTH111
    digest = hashlib.sha256(f"{recipe}\0{place.rstrip('/')}".encode("utf-8", "surrogateescape"))
    plain = re.sub(r"[^a-z0-9]+", "-", recipe.lower()).strip("-")[:60]
    return f"{plain or 'recipe'}-{digest.hexdigest()[:12]}"


def look(
    home: Store,
    recipe: str,
    data: str,
    enough: Enough,
    settle: timedelta,
    state_of: Callable[[WatchStart], RunState],
    now: datetime | None = None,
) -> Look:
    """Look at the data of a recipe, and decide whether a run is to be started; the look is noted in the store.

    Args:
        recipe: its name. enough: that has to change. settle: how long nothing may have changed.
        state_of: what became of a run that has no summary.

    Raises:
        BadInput, StoreError: the data can't be listed, or the store can't be used.
    """
    now = now or datetime.now(UTC)
    watch, listing = Watch.of(home, watch_name(recipe, data)), list_data(data)
    before, last = watch.last_look(), watch.newest()
    finished = before.finished if before else 0
    state: RunState | None = None
    if last and last.number > finished:
        state = None if _has_summary(home, last.run) else state_of(last)
        finished = finished if state else last.number
    same = before is None or before.digest == listing.digest
    since = (before.since if before else None) if same else now
    mark_store(home)
    watch.note(
        WatchLook(watch=watch.name, at=now, digest=listing.digest, since=since, finished=finished)
    )
    done = watch.newest(finished) if finished else None
    if done:
        watch.remove_before(done.number)
    changes = _changes(listing, done)

    def found(decision: Decision, why: str, again: bool = False) -> Look:
        return Look(watch, data, now, listing, changes, decision, why, last, again)

    if state == "running" and last:
        return found("running", f"the run {last.run} is under way")
    tried = last if state and last and last.digest == listing.digest else None
    if tried and (state == "failed" or tried.attempt >= MOST_ATTEMPTS):
        times = f"{tried.attempt} times" if tried.attempt > 1 else "once"
        return found(
            "failed",
            f"the run {tried.run} did not finish, started {times}; it is started again when data changes",
        )
    if not (changes.files or changes.whole):
        return found("unchanged", "nothing has changed since the last run")
    least = enough.of(done.files if done else 0)
    # Of a run that failed, one file may be the remedy.
    if not (state or changes.whole or changes.files >= least):
        return found("too few", f"{changes.files:,} changed; a run starts at {least:,} ({enough})")
    quiet = now - max([listing.newest, *([since] if since else [])])
    if quiet < settle:
        left = duration((settle - quiet).total_seconds())
        return found("settling", f"data is still changing; a run starts when it rests, in {left}")
    why = f"the run {tried.run} was interrupted" if tried else "enough has changed"
    return found("start", why if done or tried else "no run has seen this data", bool(tried))


def _changes(listing: Listing, done: WatchStart | None) -> Changes:
    if done:
        with suppress(ValueError):
            return listing.changes_since(done.rows, done.whole)
    return listing.changes_since("", "")


def _has_summary(home: Store, run: str) -> bool:
    with suppress(Missing):
        return bool(home.entry(f"runs/{run}/run.json"))
    return False
