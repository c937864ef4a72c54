"""A store out of reach for a while: a command is told so at once, a job that runs for hours waits for it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import ParamSpec, TypeVar

from tasks.store.base import Unavailable

P = ParamSpec("P")
T = TypeVar("T")
OUTAGE = 300.0  # seconds: a server that is started anew is back by then
LONGEST = 15.0  # seconds between two tries

_patience: ContextVar[float] = ContextVar("patience", default=0.0)


@contextmanager
def retry_for(seconds: float | None = None) -> Iterator[None]:
    """Within it, and in this thread, stores wait for their server to come back; `OUTAGE` by default."""
    token = _patience.set(OUTAGE if seconds is None else seconds)
    try:
        yield
    finally:
        _patience.reset(token)


def retrying(ask: Callable[P, T]) -> Callable[P, T]:
    """`ask`, tried again for as long as `retry_for` says while it raises `Unavailable`."""

    @wraps(ask)
    def asking(*args: P.args, **kwargs: P.kwargs) -> T:
        end, pause, told = time.monotonic() + _patience.get(), 1.0, False
        while True:
            try:
                return ask(*args, **kwargs)
            except Unavailable as error:
                if time.monotonic() + pause > end:
                    raise
                if not told:
                    logging.getLogger("relevo").warning("%s; waiting for it", error)
                    told = True
            time.sleep(pause)
            pause = min(2 * pause, LONGEST)

    return asking
