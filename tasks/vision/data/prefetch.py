"""What comes next is made in a thread while its consumer is busy with what came before."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def prefetch(items: Generator[T, None, None], depth: int) -> Iterator[Iterator[T]]:
    """The same items in the same order, up to `depth` of them made before they are asked for.

    The thread begins at once and ends with the block, which closes `items` too. What `items` raises is
    raised where its turn is.
    """
    ready: queue.Queue[T | _End] = queue.Queue(depth)
    over = threading.Event()

    def make() -> None:
        end = _End(None)
        try:
            for item in items:
                ready.put(item)
                if over.is_set():
                    break
            items.close()
        except BaseException as error:  # whatever it is, it belongs to the consumer
            end = _End(error)
        ready.put(end)

    def taken() -> Iterator[T]:
        while not isinstance(item := ready.get(), _End):
            yield item
        if item.error:
            raise item.error

    thread = threading.Thread(target=make, name="ahead", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        over.set()
        while thread.is_alive():  # it may wait for room
            with suppress(queue.Empty):
                ready.get(timeout=0.05)


class _End:
    """After the last item; with what stopped them, if anything did."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error
