"""Checkpoints of a running stage in the store, written while training goes on.

Two slots take turns, so that a kill at any instant leaves one of them whole; each file ends with
its own hash, and the newest sound one is used.
"""

from __future__ import annotations

import hashlib
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType

from tasks.progress import Event, emit
from tasks.store.base import Missing, Store, Unavailable
from tasks.vision.trained_model import pack_arrays, unpack_arrays
from tasks.vision.training.state import Snapshot

SLOTS = ("a", "b")
HASH = hashlib.sha256().digest_size


class Checkpoints:
    """The snapshots of one piece of work, under its cache key."""

    def __init__(self, store: Store, key: str) -> None:
        self._store, self._key = store, f"checkpoints/{key}"
        self._count = 0
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None
        self._loaded: tuple[Snapshot | None] | None = None
        self._signal: int | None = None

    @contextmanager
    def heeding_signals(self) -> Iterator[None]:
        """Turn SIGTERM and Ctrl-C into a request to stop at the next step, then pass them on.

        A signal that raises in the middle of a step would leave weights and step count apart.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(number: int, frame: FrameType | None) -> None:
            self._signal = number

        # What nohup or a shell's & has told this process to ignore stays ignored.
        heeded = [
            number
            for number in (signal.SIGTERM, signal.SIGINT)
            if signal.getsignal(number) is not signal.SIG_IGN
        ]
        before = {number: signal.signal(number, note) for number in heeded}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            if self._signal is not None:
                signal.raise_signal(self._signal)

    def stop(self) -> bool:
        """Whether a signal has come."""
        return self._signal is not None

    def load(self) -> Snapshot | None:
        """The newest whole snapshot, or None; a damaged one is passed over and told."""
        if self._loaded is None:
            found = [snapshot for slot in SLOTS if (snapshot := self._read(slot))]
            newest = max(found, key=lambda snapshot: snapshot.values["count"], default=None)
            self._count = newest.values["count"] if newest else 0
            self._loaded = (newest,)
        return self._loaded[0]

    def save(self, snapshot: Snapshot) -> None:
        """Write in the background; a write that is still under way is waited for first."""
        self.wait()
        self._count += 1
        slot = f"{self._key}.{SLOTS[self._count % 2]}"
        values = {**snapshot.values, "count": self._count}
        self._pending = self._writer.submit(self._write, slot, Snapshot(snapshot.arrays, values))

    def wait(self) -> None:
        """Return when what was saved is down; raise what its writing raised, but for what passes."""
        pending, self._pending = self._pending, None
        try:
            if pending:
                pending.result()
        except Unavailable as error:
            emit(Event("checkpoint", f"no checkpoint this time: {error}"))

    def clear(self) -> None:
        """Remove this work's checkpoints: it is done."""
        self.wait()
        self._writer.shutdown()
        for slot in SLOTS:
            self._store.delete(f"{self._key}.{slot}")

    def _write(self, key: str, snapshot: Snapshot) -> None:
        content = pack_arrays(snapshot.arrays, snapshot.values)
        self._store.write(key, content + hashlib.sha256(content).digest())

    def _read(self, slot: str) -> Snapshot | None:
        key = f"{self._key}.{slot}"
        try:
            content = self._store.read(key)
        except Missing:
            return None
        try:
            if not is_whole(content):
                raise ValueError("its hash is another")
            values, arrays = unpack_arrays(content[:-HASH])
            if not isinstance(values, dict) or not isinstance(values.get("count"), int):
                raise ValueError("it has no count")
            return Snapshot(arrays, values)
        except ValueError as error:
            emit(Event("checkpoint", f"passed over the damaged checkpoint {key} ({error})"))
            return None


def is_whole(content: bytes) -> bool:
    """Whether a checkpoint's bytes are those that were written: they end with their own hash."""
    return hashlib.sha256(content[:-HASH]).digest() == content[-HASH:]
