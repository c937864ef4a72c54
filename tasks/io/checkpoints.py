"""Asynchronous checkpoints of a stage in training.

Two slots alternate, so that a kill at any instant leaves one of them intact; each file ends with its own
hash, and the newest intact one is loaded.
"""

from __future__ import annotations

import hashlib
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import PurePosixPath
from types import FrameType

from tasks.progress import Event, emit
from tasks.store.base import MAX_ARRAYS, Missing, Store, Unavailable
from tasks.store.opening import open_store
from tasks.vision.device import find_device
from tasks.vision.text import printable
from tasks.vision.trained_model import pack_arrays, unpack_arrays
from tasks.vision.training.state import Snapshot

SLOTS = ("b", "a")  # the first is written first and removed last: without it there is no checkpoint
REMOTE_INTERVAL = 10.0  # seconds: each upload is a request, and costs more than a few short epochs
DEVICE = "device"  # in a snapshot's values: where it was computed
HASH = hashlib.sha256().digest_size


class Checkpoints:
    """Checkpoints of one stage, stored under its cache key."""

    def __init__(self, store: Store, key: str) -> None:
        self.key = key
        self._store, self._key = store, f"checkpoints/{key}"
        self._count = 0
        self._stored = {*SLOTS}  # which may be in the store
        self._saved = time.monotonic()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None
        self._loaded: tuple[Snapshot | None] | None = None
        self._signal: int | None = None

    @contextmanager
    def resuming(self, task: str) -> Iterator[None]:
        """Load the last checkpoint, report it as progress of `task`, and defer signals."""
        # Loaded first, so that a signal still ends the wait for an unavailable store.
        if self.load():
            emit(Event(task, "resuming from its last checkpoint"))
        with self.deferring_signals():
            yield

    @contextmanager
    def deferring_signals(self) -> Iterator[None]:
        """Turn SIGTERM and Ctrl-C into a request to stop after the step, then raise them again.

        An exception in the middle of a step would leave weights and step count inconsistent.
        """

        def note(number: int, frame: FrameType | None) -> None:
            self._signal = number

        # Only the main thread may; and signals that nohup or a shell's & has set to be ignored stay ignored.
        main = threading.current_thread() is threading.main_thread()
        deferred = [
            number
            for number in (signal.SIGTERM, signal.SIGINT)
            if main and signal.getsignal(number) is not signal.SIG_IGN
        ]
        before = {number: signal.signal(number, note) for number in deferred}
        try:
            yield
        finally:
            self._loaded = None  # a retry loads what this attempt has saved
            for number, handler in before.items():
                signal.signal(number, handler)
            if self._signal is not None:
                signal.raise_signal(self._signal)

    def asked(self) -> bool:
        """True after a signal."""
        return self._signal is not None

    def stop(self) -> bool:
        """As `asked`."""
        return self.asked()

    def due(self) -> bool:
        """True if a snapshot is wanted after an epoch; in a bucket, every `REMOTE_INTERVAL` seconds."""
        return not self._store.remote or time.monotonic() - self._saved >= REMOTE_INTERVAL

    def load(self) -> Snapshot | None:
        """The newest intact snapshot, or None; reports a damaged one, and one of other hardware."""
        if self._loaded is None:
            self.wait()
            self._saved = time.monotonic()
            found = list(self._intact())
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
        slot = SLOTS[self._count % 2]
        self._count += 1
        self._stored.add(slot)
        self._saved = time.monotonic()
        values = {**snapshot.values, "count": self._count, DEVICE: str(find_device())}
        self._pending = self._writer.submit(self._write, slot, Snapshot(snapshot.arrays, values))

    def wait(self) -> None:
        """Block until the pending checkpoint is written; a transient error is only reported."""
        pending, self._pending = self._pending, None
        try:
            if pending:
                pending.result()
        except Unavailable as error:
            self._count -= 1  # the next one is written to the same slot
            emit(Event("checkpoint", f"checkpoint not written: {error}"))

    def clear(self) -> None:
        """Remove the checkpoints, once the stage's result is cached."""
        self.wait()
        self._writer.shutdown()
        for slot in reversed(SLOTS):
            if slot in self._stored:
                self._store.delete(f"{self._key}.{slot}")

    def _write(self, slot: str, snapshot: Snapshot) -> None:
        content = pack_arrays(snapshot.arrays, snapshot.values)
        # Without retries, which would hold up the training: the next checkpoint is the retry.
        content += hashlib.sha256(content).digest()
        open_store(self._store.uri).write(f"{self._key}.{slot}", content)

    def _intact(self) -> Iterator[Snapshot]:
        self._stored.clear()
        for slot in SLOTS:
            key = f"{self._key}.{slot}"
            try:
                content = self._store.read(key, MAX_ARRAYS)
                self._stored.add(slot)
                if not is_whole(content):
                    raise ValueError("its hash differs")
                values, arrays = unpack_arrays(content[:-HASH])
                if not isinstance(values, dict) or not isinstance(values.get("count"), int):
                    raise ValueError("it has no count")
                yield Snapshot(arrays, values)
            except Missing:
                return
            except ValueError as error:
                emit(Event("checkpoint", f"skipped the damaged checkpoint {key} ({error})"))


def checkpointed(store: Store) -> set[str]:
    """The work keys of all trainings that have a checkpoint in the store."""
    return {PurePosixPath(key).stem for key in store.keys("checkpoints")}


def is_whole(content: bytes) -> bool:
    """True if a checkpoint's bytes match the hash at their end."""
    return hashlib.sha256(content[:-HASH]).digest() == content[-HASH:]
