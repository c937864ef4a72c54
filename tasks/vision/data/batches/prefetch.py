"""Prefetch: make the next items in a thread while the consumer works on the current one."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

T = TypeVar("T")
WORTH_A_WORD = 1.0  # seconds of waiting


@contextmanager
def prefetch(items: Generator[T, None, None], depth: int) -> Iterator[Iterator[T]]:
    """Iterate over the same items in the same order, with up to `depth` of them made in advance.

    The thread starts at once and ends with the block, which also closes `items`. An exception of `items`
    is raised after the items before it.
    """
    ready: queue.Queue[T | _End] = queue.Queue(depth)
    stop = threading.Event()

    def make() -> None:
        end = _End(None)
        try:
            for item in items:
                ready.put(item)
                if stop.is_set():
                    break
            items.close()
        except BaseException as error:  # any: it is raised in the consumer
            end = _End(error)
        ready.put(end)

    def take() -> Iterator[T]:
        while not isinstance(item := ready.get(), _End):
            yield item
        if item.error:
            raise item.error

    thread = threading.Thread(target=make, name="prefetch", daemon=True)
    thread.start()
    try:
        yield take()
    finally:
        stop.set()
        while thread.is_alive():  # it may be blocked on a full queue
            with suppress(queue.Empty):
                ready.get(timeout=0.05)


class Waiting:
    """Measures how long a consumer waits for the items that it iterates over."""

    def __init__(self) -> None:
        self._began, self._waited = time.monotonic(), 0.0

    def over(self, items: Iterable[T]) -> Iterator[T]:
        """Iterate over the same items."""
        iterator = iter(items)
        while True:
            clock = time.monotonic()
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self._waited += time.monotonic() - clock
            yield item

    @property
    def share(self) -> float:
        """Of the time since the start, 0 to 1; 0 until it is worth a word."""
        if self._waited < WORTH_A_WORD:
            return 0.0
        return self._waited / (time.monotonic() - self._began)


class _End:
    """Marks the end of the items, with the exception that caused it, if any."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error
