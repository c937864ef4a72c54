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
from dataclasses import dataclass, replace
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

    def create(self, content: bytes) -> str | None:
        """Write it if it does not exist, and return its tag; None if it does. Raises NoConditionalWrites."""

    def replace(self, content: bytes, tag: str) -> str | None:
        """Like `create`, but write it over that very version; None if there is another."""

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
        written = _acquire(document, me, on_wait)
    except NoConditionalWrites:
        yield
        return
    # No retries from here on: the next heartbeat is the retry, and a lease left behind expires.
    lease = _Lease(document.without_retries(), me, written)
    heartbeat = threading.Thread(target=lease.send_heartbeats, name="lease", daemon=True)
    heartbeat.start()
    try:
        yield
    finally:
        lease.done.set()
        heartbeat.join()
        lease.release()


@dataclass(frozen=True)
class _Written:
    """The tag of this process' last write, and the time before it was sent."""

    tag: str
    sent: float


def _acquire(document: LeaseDocument, me: bytes, on_wait: Callable[[], None]) -> _Written:
    waiting, last, since = False, "", time.monotonic()
    while True:
        sent = time.monotonic()
        if tag := document.create(me):
            return _Written(tag, sent)
        found = document.read()
        if found is None:
            continue  # released just now
        if found.content.startswith(me):
            # Created by our own request, whose response was lost before the retry.
            return _Written(found.tag, sent)
        if found.tag != last:
            last, since = found.tag, time.monotonic()
        elif time.monotonic() - since > LEASE_TIMEOUT:
            sent = time.monotonic()
            if tag := document.replace(me, found.tag):
                return _Written(tag, sent)
        if not waiting:
            on_wait()
            waiting = True
        time.sleep(POLL)


class _Lease:
    """A lease that this process holds, until `done`."""

    def __init__(self, document: LeaseDocument, me: bytes, written: _Written) -> None:
        self._document, self._me, self._written = document, me, written
        self.done = threading.Event()

    def send_heartbeats(self) -> None:
        """Rewrite the document until `done`, or until another process holds the lease."""
        beats = 0
        while not self.done.wait(HEARTBEAT):
            beats += 1
            sent = time.monotonic()
            try:
                tag = self._document.replace(self._me + b" %d" % beats, self._written.tag)
                if tag:
                    self._written = _Written(tag, sent)
                elif found := self._own():  # a response was lost
                    self._written = replace(self._written, tag=found.tag)
                else:
                    return  # replaced while this machine was paused: both finish, with the same result
            except (StoreError, NoConditionalWrites):
                continue

    def release(self) -> None:
        """Remove the document, unless another process may have replaced it."""
        with suppress(StoreError):
            # The others replace no version that is younger than LEASE_TIMEOUT.
            young = time.monotonic() - self._written.sent < LEASE_TIMEOUT / 2
            if young or self._own():
                self._document.delete()

    def _own(self) -> Version | None:
        """The document's current version, if it is this process'."""
        found = self._document.read()
        return found if found and found.content.startswith(self._me) else None
