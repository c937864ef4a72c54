"""A lock in a store without locks: a small document that its holder rewrites while it works.

After Gray & Cheriton, Leases (SOSP 1989), except that no clocks are compared: a process that waits
measures on its own clock for how long the document has stayed the same.
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

HEARTBEAT = 10.0  # seconds between two rewrites
LEASE_TIMEOUT = 40.0  # seconds without a rewrite after which the holder counts as dead
POLL = 2.0  # seconds between two polls of a process that waits


class NoConditionalWrites(Exception):
    """The store ignores or refuses conditions of a write."""


@dataclass(frozen=True)
class Version:
    """One version of a document: the store's identifier for it (S3's ETag), and its bytes."""

    tag: str
    content: bytes


class LeaseDocument(Protocol):
    """A document that is only written under a condition (compare and swap)."""

    def read(self) -> Version | None:
        """The current version; None if there is none."""

    def create(self, content: bytes) -> bool:
        """Write it if it does not exist; False if it does. Raises NoConditionalWrites."""

    def replace(self, content: bytes, tag: str) -> bool:
        """Write it over that very version; False if there is another. Raises NoConditionalWrites."""

    def delete(self) -> None:
        """Remove it. Idempotent."""

    def without_retries(self) -> LeaseDocument:
        """The same document; its requests report an outage at once."""


@contextmanager
def hold_lease(document: LeaseDocument, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lease; while another process does, wait, and call `on_wait` once.

    A holder that dies is replaced after `LEASE_TIMEOUT`. A store without conditional writes lets
    everyone in.
    """
    me = uuid.uuid4().hex.encode()
    try:
        _acquire(document, me, on_wait)
    except NoConditionalWrites:
        yield
        return
    # No retries from here on: the next heartbeat is the retry, and a lease left behind expires.
    document = document.without_retries()
    done = threading.Event()
    heartbeat = threading.Thread(
        target=_send_heartbeats, args=(document, me, done), name="lease", daemon=True
    )
    heartbeat.start()
    try:
        yield
    finally:
        done.set()
        heartbeat.join()
        with suppress(StoreError):
            if (found := document.read()) and found.content.startswith(me):
                document.delete()


def _acquire(document: LeaseDocument, me: bytes, on_wait: Callable[[], None]) -> None:
    waiting, last, since = False, "", time.monotonic()
    while not document.create(me):
        found = document.read()
        if found is None:
            continue  # released just now
        if found.content.startswith(me):
            return  # created by our own request, whose response was lost before the retry
        if found.tag != last:
            last, since = found.tag, time.monotonic()
        elif time.monotonic() - since > LEASE_TIMEOUT and document.replace(me, found.tag):
            return
        if not waiting:
            on_wait()
            waiting = True
        time.sleep(POLL)


def _send_heartbeats(document: LeaseDocument, me: bytes, done: threading.Event) -> None:
    """Rewrite the document until `done`, or until another process holds the lease."""
    beats = 0
    while not done.wait(HEARTBEAT):
        beats += 1
        try:
            found = document.read()
            if found is None or not found.content.startswith(me):
                return  # replaced while this machine was paused: both finish, with the same result
            document.replace(me + b" %d" % beats, found.tag)
        except (StoreError, NoConditionalWrites):
            continue
