"""Outages of a store's server: a command reports one at once, a job that runs for hours waits.

`open_store(address, retry_for=OUTAGE)` opens a store whose requests wait.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from tasks.store.base import Unavailable

OUTAGE = 300.0  # seconds: a server that restarts is back by then
MAX_PAUSE = 15.0  # seconds between two attempts


class Retries(Protocol):
    """An object that sends requests, and repeats them for `retry_for` seconds."""

    @property
    def retry_for(self) -> float: ...


S = TypeVar("S", bound=Retries)
P = ParamSpec("P")
T = TypeVar("T")


def retrying(request: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """Decorate a method to be repeated for `self.retry_for` seconds while it raises Unavailable."""

    @wraps(request)
    def repeat(self: S, *args: P.args, **kwargs: P.kwargs) -> T:
        end, pause, warned = time.monotonic() + self.retry_for, 1.0, False
        while True:
            try:
                return request(self, *args, **kwargs)
            except Unavailable as error:
                if time.monotonic() + pause > end:
                    raise
                if not warned:
                    logging.getLogger("relevo").warning("%s; waiting for it", error)
                    warned = True
            time.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE)

    return repeat
