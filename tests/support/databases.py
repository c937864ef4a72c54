"""A temporary PostgreSQL server on a free port of 127.0.0.1."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.fleet import Fleet, free_port

PROGRAMS = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"))]


@contextmanager
def postgresql() -> Iterator[str]:
    """Yield the address of a new, empty database, run as user postgres by root, whom PostgreSQL refuses."""
    # Not in pytest's folders, which other users can't enter.
    folder = Path(tempfile.mkdtemp(prefix="relevo-postgres-"))
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
        as_user = {"user": "postgres", "group": "postgres", "extra_groups": [], "cwd": folder}
    data = str(folder / "data")
    make = [f"{PROGRAMS[-1]}/initdb", "--pgdata", data, "--username", "relevo"]
    subprocess.run(
        [*make, "--auth", "trust", "--no-sync"], check=True, stdout=subprocess.DEVNULL, **as_user
    )
    port = free_port()
    serve = [f"{PROGRAMS[-1]}/postgres", "-D", data, "-p", str(port), "-k", str(folder)]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [*serve, "-h", "127.0.0.1", "-F"], stdout=log, stderr=log, **as_user
        )
    ready = [f"{PROGRAMS[-1]}/pg_isready", "--host", "127.0.0.1", "--port", str(port)]
    try:
        Fleet.until(lambda: subprocess.run(ready, capture_output=True).returncode == 0, 300)
        yield f"postgresql+asyncpg://relevo@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGINT)  # don't wait for clients
        server.wait(60)
        shutil.rmtree(folder)
