"""A claim on work in a store that has no locks: a small document, rewritten for as long as it is held.

After Gray & Cheriton, Leases (SOSP 1989), with one difference: nobody compares clocks. Whoever waits
measures, on a clock of its own, for how long the document has stayed the same.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from tasks.store.base import StoreError
from tasks.store.outages import retry_for

HEARTBEAT = 10.0  # seconds between two rewrites
LEASE_TIMEOUT = 40.0  # seconds without one after which the holder counts as dead
POLL = 2.0


class Unsupported(Exception):
    """The store can't write under a condition."""


@dataclass(frozen=True)
class Seen:
    """What lies in a slot: the store's name for this version of it, and its bytes."""

    version: str
    content: bytes


class Slot(Protocol):
    """One document of a store that is only ever written under a condition."""

    def look(self) -> Seen | None:
        """What is there now, if anything is."""

    def create(self, content: bytes) -> bool:
        """Write it if nothing is there: was nothing there? Raises Unsupported."""

    def replace(self, content: bytes, version: str) -> bool:
        """Write it in place of just that version: was it still there? Raises Unsupported."""

    def clear(self) -> None:
        """Remove what is there."""


@contextmanager
def leased(slot: Slot, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the slot for oneself; while another holds it, wait, and call `waiting` once.

    A holder that dies is replaced after `LEASE_TIMEOUT`. Where the store can't write under a condition,
    everyone is let in.
    """
    me = uuid.uuid4().hex.encode()
    try:
        _acquire(slot, me, waiting)
    except Unsupported:
        yield
        return
    done = threading.Event()
    beat = threading.Thread(target=_keep, args=(slot, me, done), name="lease", daemon=True)
    beat.start()
    try:
        yield
    finally:
        done.set()
        beat.join()
        # The work is done, or this process is to leave; what stays of the claim grows old.
        with suppress(StoreError), retry_for(0):
            if (seen := slot.look()) and seen.content.startswith(me):
                slot.clear()


def _acquire(slot: Slot, me: bytes, waiting: Callable[[], None]) -> None:
    told, last, since = False, "", time.monotonic()
    while not slot.create(me):
        seen = slot.look()
        if seen is None:
            continue  # it was given back just now
        if seen.content.startswith(me):
            return  # the answer to our own writing was lost, and asking again found it there
        if seen.version != last:
            last, since = seen.version, time.monotonic()
        elif time.monotonic() - since > LEASE_TIMEOUT and slot.replace(me, seen.version):
            return
        if not told:
            waiting()
            told = True
        time.sleep(POLL)


def _keep(slot: Slot, me: bytes, done: threading.Event) -> None:
    """Rewrite the slot until `done`, or until somebody else has it."""
    beats = 0
    while not done.wait(HEARTBEAT):
        beats += 1
        try:
            seen = slot.look()
            if seen is None or not seen.content.startswith(me):
                return  # taken for dead, after a pause of this machine: both finish, with one result
            slot.replace(me + b" %d" % beats, seen.version)
        except (StoreError, Unsupported):
            continue  # out of reach for now: the next beat may come through
