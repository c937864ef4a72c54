"""What flow runs tell their worker for its metrics: lines on a pipe that forks write and the worker reads."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from threading import Lock
from time import monotonic

from tasks.progress import CACHED, Event, listening
from tasks.store.s3.fetched import bytes_fetched

EVERY = 2.0  # seconds between two lines of a run


@dataclass(frozen=True)
class Measured:
    """What a flow run has done since its last line.

    Attributes:
        run: id of the flow run. images_per_second: of its training; None if it doesn't train.
    """

    run: str
    images_per_second: float | None = None
    cache_hits: int = 0
    bytes_fetched: int = 0

    def line(self) -> bytes:
        """Return it as a line, which is shorter than what a pipe takes in one piece (4096 bytes)."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> Measured:
        """Read a line. Raises ValueError or TypeError if it is none."""
        return cls(**json.loads(line))


class Reporter:
    """Listener that sums up a run's events, and writes them to the worker's pipe every `EVERY` seconds.

    A training never waits for it: what a full pipe doesn't take goes with the next line.
    """

    def __init__(self, pipe: int, run: str) -> None:
        os.set_blocking(pipe, False)
        self._pipe, self._run = pipe, run
        self._rate: float | None = None
        self._hits = self._fetched = 0
        self._sent_at = 0.0
        self._lock = Lock()  # events come from several threads

    def __call__(self, event: Event) -> None:
        with self._lock:
            self._hits += event.message == CACHED
            self._rate = event.detail.images_per_second if event.detail is not None else None
            if monotonic() - self._sent_at >= EVERY:
                self._send()

    def end(self) -> None:
        """Report what has not been reported."""
        with self._lock:
            self._rate = None
            self._send()

    def _send(self) -> None:
        fetched = bytes_fetched()
        new = Measured(self._run, self._rate, self._hits, fetched - self._fetched)
        try:
            os.write(self._pipe, new.line())
        except OSError:  # full, or the worker has ended
            return
        self._hits, self._fetched, self._sent_at = 0, fetched, monotonic()


@contextmanager
def reporting(pipe: int, run: str) -> Iterator[None]:
    """Report what happens inside the `with` block to the worker that reads this pipe."""
    reporter = Reporter(pipe, run)
    with listening(reporter):
        try:
            yield
        finally:
            reporter.end()
