"""How a running task tells whoever follows it: a terminal, Prefect's log, or nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Event:
    """Something a person following a run wants to know.

    Attributes:
        task: the task run's name, e.g. "train baseline".
        message: one line in plain words; empty for a mere tick of a progress bar.
        detail: a `trainer.Progress` while training, else None.
    """

    task: str
    message: str = ""
    detail: Any = None


Listener = Callable[[Event], None]
_listeners: list[Listener] = []


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Send every event to `listener` while the block runs."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def tell(event: Event) -> None:
    """Pass an event on; without a listener, its message goes to Prefect's run log."""
    for listener in _listeners:
        listener(event)
    if event.message:
        from prefect.exceptions import MissingContextError
        from prefect.logging import get_run_logger

        with suppress(MissingContextError):
            get_run_logger().info(event.message)
