"""List the runs of a store, with requests that grow with the runs and not with their files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cached_property

from tasks.runs.summary import RunSummary, read_summary, stamp
from tasks.store.base import Missing, Store, sha256_of
from tasks.store.opening import open_store
from tasks.vision.errors import BadInput

READERS = 8  # at once
STAMP = re.compile(r"\d{8}-\d{6}-\d{3}(?=-)")


class Runs:
    """The runs of a store; folders are listed once, and each summary is read once at most."""

    def __init__(self, home: Store) -> None:
        self._home = home
        self._read: dict[str, RunSummary | BadInput | None] = {}

    def read_all(self) -> None:
        """Read the summaries of all runs at once, several at a time, before they are asked for."""
        with ThreadPoolExecutor(READERS) as pool:
            for _ in pool.map(self._looked_up, self._folders):  # raises what a read has raised
                pass

    def newest_first(self) -> Iterator[str]:
        """Yield the names of finished runs; those after the one that is wanted are not looked at."""
        began = {name: self._began(name) for name in self._folders}
        names = sorted((name for name in began if began[name]), key=lambda n: (began[n], n))
        return (name for name in reversed(names) if self.is_finished(name))

    def is_finished(self, name: str) -> bool:
        """True if the run has a summary, even a damaged one."""
        return self._looked_up(name) is not None

    def summary(self, name: str) -> RunSummary:
        """Return the summary of a finished run.

        Raises:
            BadInput: it is missing or damaged.
        """
        found = self._looked_up(name)
        if isinstance(found, RunSummary):
            return found
        raise found or BadInput(f"run {name!r}: it has no run.json; run its recipe again")

    def _looked_up(self, name: str) -> RunSummary | BadInput | None:
        if name not in self._read:
            self._read[name] = None
            with suppress(Missing):
                try:
                    self._read[name] = read_summary(self._home, name)
                except BadInput as damaged:
                    self._read[name] = damaged
        return self._read[name]

    def _began(self, name: str) -> str:
        """Return when a run began; "" if the folder has no summary."""
        if usual := STAMP.match(name):
            return usual[0]
        # A name chosen by a user. If the summary is damaged, the file's own time is close enough.
        found = self._looked_up(name)
        if isinstance(found, RunSummary):
            return stamp(found.started)
        with suppress(Missing):
            return stamp(self._home.entry(f"runs/{name}/run.json").modified)
        return ""

    @cached_property
    def _folders(self) -> list[str]:
        return self._home.folders("runs")


def run_names(store: str) -> list[str]:
    """Return the names of finished runs, sorted by start, the newest last."""
    runs = Runs(open_store(store))
    runs.read_all()
    return [*runs.newest_first()][::-1]


def all_runs(store: str) -> tuple[list[RunSummary], list[str]]:
    """Return the summaries of all finished runs, the newest last, and a fault per damaged run."""
    runs = Runs(open_store(store))
    runs.read_all()
    found, damaged = [], []
    for name in [*runs.newest_first()][::-1]:
        try:
            found.append(runs.summary(name))
        except BadInput as error:
            damaged.append(str(error))
    return found, damaged


def last_runs(store: str, most: int) -> list[RunSummary]:
    """Return the summaries of the last `most` runs, the newest last, without damaged ones."""
    runs = Runs(open_store(store))
    found: list[RunSummary] = []
    for name in runs.newest_first():
        with suppress(BadInput):
            found.append(runs.summary(name))
        if len(found) == most:
            break  # before the next one is read
    return found[::-1]


def has_summary(home: Store, name: str) -> bool:
    """True if the run's summary is as relevo wrote it."""
    try:
        read_summary(home, name)
    except (BadInput, Missing):
        return False
    return True


def is_run(home: Store, name: str) -> bool:
    """True if a folder with a run.json is a run, even a damaged one; other programs use that name too."""
    if has_summary(home, name):
        return True
    with suppress(Missing):
        return bool(home.entry(f"runs/{name}/lineage.json"))
    return False


def is_name(given: str) -> bool:
    """True if a folder of runs/ could have this name."""
    return bool(given) and not {"/", "\\", "\0"} & {*given} and given not in {".", ".."}


def check_free(store: Store, name: str) -> None:
    """Refuse the name of a finished run for a new run; an unfinished run may be continued.

    Raises:
        BadInput: a finished run has this name.
    """
    with suppress(Missing):
        store.entry(f"runs/{name}/run.json")
        raise BadInput(
            f"run {name!r}: the store {store.uri} has a run of that name; give another name, or none"
        )


@contextmanager
def reserved(store: Store, name: str, *, wait: bool) -> Iterator[None]:
    """Hold the name of a new run, so that no other run takes it before this one is published.

    Args:
        wait: for another run of the name to end; a run that is resumed may find its own lock, which expires.

    Raises:
        BadInput: a finished run has this name, or one that is under way.
    """

    def refuse() -> None:
        if not wait:
            raise BadInput(
                f"run {name!r}: another run of that name is under way in the store {store.uri}, or was "
                "killed within the last minute; give another name, or none"
            )

    with store.claim(_lock(name), refuse):
        check_free(store, name)
        yield


def is_reserved(store: Store, name: str) -> bool:
    """True while a run of this name is under way, and for a minute after it was killed."""

    def stop() -> None:
        raise _Reserved

    try:
        with store.claim(_lock(name), stop):
            return False
    except _Reserved:
        return True


class _Reserved(Exception):
    """Another process holds the name."""


def _lock(name: str) -> str:
    return f"run-{sha256_of(name.encode())[0]}"


def find_attempt(store: str, flow_run: str) -> RunSummary | None:
    """Return the summary that this flow run published before it crashed, if any."""
    return next((each for each in all_runs(store)[0] if each.flow_run == flow_run), None)
