"""Draw with matplotlib's own defaults, whatever MPLBACKEND or a matplotlibrc of this machine asks for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

_LOCK = RLock()  # matplotlib's settings are global, and tasks draw in threads
BACKEND = "MPLBACKEND"  # a notebook's may need a package that isn't installed here


@contextmanager
def matplotlib_defaults() -> Iterator[None]:
    """Import matplotlib without a backend, and draw with its default settings inside."""
    with _LOCK:
        backend = os.environ.pop(BACKEND, None)
        try:
            import matplotlib as mpl
        finally:
            if backend is not None:
                os.environ[BACKEND] = backend
        with mpl.rc_context(mpl.rcParamsDefault):
            yield
