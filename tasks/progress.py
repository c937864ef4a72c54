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
        detail: a `budget.Progress` while training, else None.
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


def epoch_line(progress: Any) -> str:
    """One line about where a training stands; with the scores of the epoch that has just ended."""
    where = f"{progress.phase} epoch {progress.epoch}/{progress.epochs}"
    pace = f"{progress.images_per_second:,.0f} images/s, {duration(progress.seconds_left)} left"
    row = progress.row
    if not row:
        return f"{where}: {progress.share:.0%} of the training; {pace}"
    return (
        f"{where}: loss {row['loss']:.3f}, accuracy {row['accuracy']:.3f}; validation "
        f"loss {row['validation_loss']:.3f}, accuracy {row['validation_accuracy']:.3f}; {pace}"
    )


def duration(seconds: float) -> str:
    """Seconds in words a person reads at a glance."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def counted(count: int, what: str) -> str:
    """So many of a thing: 1 epoch, 2 epochs."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def emit(event: Event) -> None:
    """Pass an event on to those who listen, and what is worth a line to Prefect's run log."""
    for listener in _listeners:
        listener(event)
    ended = event.detail is not None and event.detail.row
    line = epoch_line(event.detail) if ended else event.message
    if line:
        from prefect.context import TaskRunContext
        from prefect.exceptions import MissingContextError
        from prefect.logging import get_run_logger

        with suppress(MissingContextError):
            # A flow's log is about all of its tasks, a task's own about that one.
            get_run_logger().info(line if TaskRunContext.get() else f"{event.task}: {line}")
