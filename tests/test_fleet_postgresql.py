"""A fleet whose server keeps its memory in PostgreSQL, as one that serves many does."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fleet import SETTINGS, Fleet, free_port

PROGRAMS = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"))]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not PROGRAMS, reason="PostgreSQL isn't installed"),
]


@pytest.fixture
def database() -> Iterator[str]:
    """A cluster of its own on a free port of 127.0.0.1; it refuses to run as root."""
    # pytest's own folders are closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="relevo-postgres-"))
    someone: dict[str, Any] = {}
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
        someone = {"user": "postgres", "group": "postgres", "extra_groups": [], "cwd": folder}
    data = str(folder / "data")
    make = [f"{PROGRAMS[-1]}/initdb", "--pgdata", data, "--username", "relevo"]
    subprocess.run(
        [*make, "--auth", "trust", "--no-sync"], check=True, stdout=subprocess.DEVNULL, **someone
    )
    port = free_port()
    serve = [f"{PROGRAMS[-1]}/postgres", "-D", data, "-p", str(port), "-k", str(folder)]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [*serve, "-h", "127.0.0.1", "-F"], stdout=log, stderr=log, **someone
        )
    ready = [f"{PROGRAMS[-1]}/pg_isready", "--host", "127.0.0.1", "--port", str(port)]
    try:
        Fleet.until(lambda: subprocess.run(ready, capture_output=True).returncode == 0, 60)
        yield f"postgresql+asyncpg://relevo@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGINT)  # don't wait for clients
        server.wait(60)
        shutil.rmtree(folder)


def test_a_server_on_postgresql_is_deployed_to_and_runs_a_stage(
    database: str, tmp_path: Path
) -> None:
    fleet = Fleet(tmp_path, database)
    try:
        for _ in range(2):
            done = fleet.relevo("deploy")
            assert done.returncode == 0, done.stderr
        assert len(fleet.find("deployments")) == 7
        fleet.start_machine("a")
        run = fleet.order(
            "experiment/on-demand",
            settings=SETTINGS,
            stages=["baseline"],
            dispatch="workers",
            run="first",
        )
        fleet.finish(run)
        assert fleet.summary("first")["stages"]["baseline"]["state"] == "trained"
    finally:
        fleet.stop()
