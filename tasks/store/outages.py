"""Outages of a store's server: a command reports one at once, a job that runs for hours waits."""

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
OUTAGE = 300.0  # seconds: a server that restarts is back by then
MAX_PAUSE = 15.0  # seconds between two attempts

_patience: ContextVar[float] = ContextVar("patience", default=0.0)


@contextmanager
def retry_for(seconds: float | None = None) -> Iterator[None]:
    """Within it, and in this thread, stores wait for their server to come back; `OUTAGE` by default."""
    token = _patience.set(OUTAGE if seconds is None else seconds)
    try:
        yield
    finally:
        _patience.reset(token)


def retrying(request: Callable[P, T]) -> Callable[P, T]:
    """Repeat `request` for as long as `retry_for` says while it raises Unavailable."""

    @wraps(request)
    def repeat(*args: P.args, **kwargs: P.kwargs) -> T:
        end, pause, warned = time.monotonic() + _patience.get(), 1.0, False
        while True:
            try:
                return request(*args, **kwargs)
            except Unavailable as error:
                if time.monotonic() + pause > end:
                    raise
                if not warned:
                    logging.getLogger("relevo").warning("%s; waiting for it", error)
                    warned = True
            time.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE)

    return repeat
