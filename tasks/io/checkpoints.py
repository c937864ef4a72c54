"""Asynchronous checkpoints of a stage in training.

Two slots alternate, so that a kill at any instant leaves one of them intact; each file ends with its own
hash, and the newest intact one is loaded.
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
from tasks.store.base import MAX_ARRAYS, Missing, Store, Unavailable
from tasks.store.opening import open_store
from tasks.vision.device import find_device
from tasks.vision.text import printable
from tasks.vision.trained_model import pack_arrays, unpack_arrays
from tasks.vision.training.state import Snapshot

SLOTS = ("a", "b")
DEVICE = "device"  # in a snapshot's values: where it was computed
HASH = hashlib.sha256().digest_size


class Checkpoints:
    """Checkpoints of one stage, stored under its cache key."""

    def __init__(self, store: Store, key: str) -> None:
        self._store, self._key = store, f"checkpoints/{key}"
        self._count = 0
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None
        self._loaded: tuple[Snapshot | None] | None = None
        self._signal: int | None = None

    @contextmanager
    def deferring_signals(self) -> Iterator[None]:
        """Turn SIGTERM and Ctrl-C into a request to stop after the step, then raise them again.

        An exception in the middle of a step would leave weights and step count inconsistent.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(number: int, frame: FrameType | None) -> None:
            self._signal = number

        # Signals that nohup or a shell's & has set to be ignored stay ignored.
        deferred = [
            number
            for number in (signal.SIGTERM, signal.SIGINT)
            if signal.getsignal(number) is not signal.SIG_IGN
        ]
        before = {number: signal.signal(number, note) for number in deferred}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            if self._signal is not None:
                signal.raise_signal(self._signal)

    def stop(self) -> bool:
        """True after a signal."""
        return self._signal is not None

    def load(self) -> Snapshot | None:
        """The newest intact snapshot, or None; reports a damaged one, and one of other hardware."""
        if self._loaded is None:
            found = [snapshot for slot in SLOTS if (snapshot := self._read(slot))]
            newest = max(found, key=lambda snapshot: snapshot.values["count"], default=None)
            self._count = newest.values["count"] if newest else 0
            self._loaded = (newest,)
            here = str(find_device())
            if newest and (there := newest.values.get(DEVICE, here)) != here:
                about = f"the checkpoint is of another kind of machine ({printable(str(there))})"
                line = f"{about}: the last bits may differ from those of an uninterrupted run"
                emit(Event("checkpoint", line))
        return self._loaded[0]

    def save(self, snapshot: Snapshot) -> None:
        """Write in the background, after the previous write has ended."""
        self.wait()
        self._count += 1
        slot = f"{self._key}.{SLOTS[self._count % 2]}"
        values = {**snapshot.values, "count": self._count, DEVICE: str(find_device())}
        self._pending = self._writer.submit(self._write, slot, Snapshot(snapshot.arrays, values))

    def wait(self) -> None:
        """Block until the pending checkpoint is written; a transient error is only reported."""
        pending, self._pending = self._pending, None
        try:
            if pending:
                pending.result()
        except Unavailable as error:
            emit(Event("checkpoint", f"checkpoint not written: {error}"))

    def clear(self) -> None:
        """Remove the checkpoints, once the stage's result is cached."""
        self.wait()
        self._writer.shutdown()
        for slot in SLOTS:
            self._store.delete(f"{self._key}.{slot}")

    def _write(self, key: str, snapshot: Snapshot) -> None:
        content = pack_arrays(snapshot.arrays, snapshot.values)
        # Without retries, which would hold up the training: the next checkpoint is the retry.
        open_store(self._store.uri).write(key, content + hashlib.sha256(content).digest())

    def _read(self, slot: str) -> Snapshot | None:
        key = f"{self._key}.{slot}"
        try:
            content = self._store.read(key, MAX_ARRAYS)
            if not is_whole(content):
                raise ValueError("its hash differs")
            values, arrays = unpack_arrays(content[:-HASH])
            if not isinstance(values, dict) or not isinstance(values.get("count"), int):
                raise ValueError("it has no count")
            return Snapshot(arrays, values)
        except Missing:
            return None
        except ValueError as error:
            emit(Event("checkpoint", f"skipped the damaged checkpoint {key} ({error})"))
            return None


def is_whole(content: bytes) -> bool:
    """True if a checkpoint's bytes match the hash at their end."""
    return hashlib.sha256(content[:-HASH]).digest() == content[-HASH:]
