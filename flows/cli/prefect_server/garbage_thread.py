"""Collect garbage in a thread of its own, so that a server on SQLite doesn't stand still.

Python collects garbage wherever it allocates memory, also in the thread of a server's event loop. A cursor of
sqlite3 among the garbage is reset, and SQLite makes that wait while the cursor's connection waits for the lock
of the database. The holder of the lock needs the event loop to release it, so that nothing happens until SQLite
gives up waiting: for a minute in Prefect 3.8's server.
"""

from __future__ import annotations

import gc
import time
from itertools import count
from threading import Thread

PAUSE = 0.2  # seconds between two collections of young objects
FULL = 150  # one collection in 150 is of all objects, which takes tenths of a second


def collect_garbage_in_thread() -> None:
    """Stop automatic garbage collection in this process, and collect in a daemon thread from now on."""
    gc.disable()
    Thread(target=_collect, name="garbage collection", daemon=True).start()


def _collect() -> None:
    for number in count(1):
        time.sleep(PAUSE)
        gc.collect(1 if number % FULL else 2)
