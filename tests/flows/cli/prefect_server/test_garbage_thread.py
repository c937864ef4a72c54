"""Garbage that SQLite makes wait does not block the thread that allocates memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TIMEOUT = 8  # seconds for which a connection waits for the database's lock

# One connection has the lock, another waits for it, and a cursor of the latter is garbage.
SCRIPT = f"""\
import gc, sqlite3, sys, time
from threading import Thread
from flows.cli.prefect_server.garbage_thread import collect_garbage_in_thread
gc.disable()
path, in_thread = sys.argv[1:]
holder = sqlite3.connect(path, isolation_level=None)
waiting = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout={TIMEOUT})
rows = waiting.execute("SELECT 1 UNION SELECT 2")
next(rows)
cycle = [rows]
cycle.append(cycle)
del rows, cycle
holder.execute("BEGIN IMMEDIATE")

def wait():
    try:
        waiting.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        print("gave up", flush=True)

thread = Thread(target=wait)
thread.start()
time.sleep(0.3)
gc.enable()
if in_thread == "yes":
    collect_garbage_in_thread()
    time.sleep(0.5)
objects = [[] for _ in range(300_000)]
holder.execute("COMMIT")
thread.join()
"""


def test_garbage_of_sqlite_blocks_no_event_loop(tmp_path: Path) -> None:
    answers = {}
    for in_thread in ("no", "yes"):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(tmp_path / f"{in_thread}.db"), in_thread],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        answers[in_thread] = done.stdout.strip()
    assert answers == {"no": "gave up", "yes": ""}  # the first shows that Python still does this
