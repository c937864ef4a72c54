"""What a look at data comes to, for the command line, Prefect and other programs."""

from __future__ import annotations

from tasks.store.addresses import without_secrets
from tasks.vision.recipe.schema import Strict
from tasks.vision.text import first_of
from tasks.watch.look import Decision, Look

MOST_FOLDERS = 5  # named in a line
FASTER = "another watcher was faster, and has started a run"


class WatchResult(Strict):
    """What a look at data has found, and what it did; the output of `relevo watch --json`.

    Attributes:
        watch: its name in the store. data: as given. files: that were listed.
        added, removed, written: files, since the last finished run; all of them are added before the first.
        folders: how many were added, by folder, the most first.
        decision, why: whether a run was started, and the reason. run: its name, or of the one that was not
            finished; else "". store: its address.
    """

    watch: str
    data: str
    files: int
    added: int
    removed: int
    written: int
    folders: dict[str, int]
    decision: Decision
    why: str
    run: str
    store: str

    def lines(self) -> list[str]:
        """Say in two lines what was found, and what was done."""
        most = (f"{name or '.'} {count:,}" for name, count in self.folders.items())
        where = f" ({first_of(most, MOST_FOLDERS)})" if self.folders else ""
        found = (
            f"{self.data}: {self.files:,} files; since the last run {self.added:,} new{where}, "
            f"{self.removed:,} removed, {self.written:,} written to"
        )
        acts = f"starts the run {self.run}" if self.decision == "start" else "starts no run"
        return [found, f"{acts}: {self.why}"]


def result_of(seen: Look, started: str = "") -> WatchResult:
    """What a look has found, and what came of it.

    Args:
        started: name of the run that was started; "" if it has started none.
    """
    decision, why = seen.decision, seen.why
    if decision == "start" and not started:
        decision, why = "running", FASTER
    under_way = seen.last.run if seen.last and decision in ("running", "failed") else ""
    return WatchResult(
        watch=seen.watch.name,
        data=without_secrets(seen.data),
        files=len(seen.listing.rows),
        added=seen.changes.added,
        removed=seen.changes.removed,
        written=seen.changes.written,
        folders=seen.changes.folders,
        decision=decision,
        why=why,
        run=started or under_way,
        store=seen.watch.home.uri,
    )
