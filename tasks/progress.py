"""Progress events of running tasks, for a terminal, Prefect's log and Prefect's UI."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

CACHED = "cached"  # message of the event that a result was in the cache
MUCH = 0.2  # of the time: reading images is then what bounds a training's rate


@dataclass(frozen=True)
class Event:
    """Progress of a task run.

    Attributes:
        task: the task run's name, e.g. "train baseline".
        message: one line; empty if only a progress bar should move.
        detail: a `training.state.Progress` while training, else None.
    """

    task: str
    message: str = ""
    detail: Any = None


Listener = Callable[[Event], None]
# Prefect runs tasks, and `live` its thread, in the flow's context or in a copy of it.
_listeners: ContextVar[tuple[Listener, ...]] = ContextVar("listeners", default=())


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Call `listener` with each event that is emitted inside the `with` block.

    Those of other threads count if they run in a copy of this block's `contextvars` context.
    """
    token = _listeners.set((*_listeners.get(), listener))
    try:
        yield
    finally:
        _listeners.reset(token)


def epoch_line(progress: Any) -> str:
    """Return one line about a training's progress, with the scores of an epoch that has just ended."""
    pace = f"{progress.images_per_second:,.0f} images/s, {duration(progress.seconds_left)} left"
    if progress.waiting > MUCH:  # before the pace, which a bar has room for
        pace = f"waiting for images to be read {progress.waiting:.0%} of the time; {pace}"
    if progress.phase == "features":
        return f"features: {progress.share:.0%} of the images; {pace}"
    where = f"{progress.phase} epoch {progress.epoch}/{progress.epochs}"
    row = progress.row
    if not row:
        return f"{where}: {progress.share:.0%} of the training; {pace}"
    return (
        f"{where}: loss {row['loss']:.3f}, accuracy {row['accuracy']:.3f}; validation "
        f"loss {row['validation_loss']:.3f}, accuracy {row['validation_accuracy']:.3f}; {pace}"
    )


def duration(seconds: float) -> str:
    """Return seconds as text, rounded to a readable unit.

    >>> duration(99), duration(100), duration(6000)
    ('99 s', '2 min', '1 h 40 min')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def counted(count: int, what: str) -> str:
    """Return a number with its noun: "1 epoch", "2 epochs"."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def emit(event: Event) -> None:
    """Send an event to all listeners, and messages and ended epochs to Prefect's run log."""
    for listener in _listeners.get():
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
