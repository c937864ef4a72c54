"""A damaged database of Prefect, and one of a newer version, are seen before a server starts."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from prefect.settings import Settings

from flows.cli.prefect_server.database import check_database
from tasks.vision.errors import BadInput

SHIPPED = "a3b9c7d2e5f1"  # of a migration in Prefect 3.8
# The revision is in the write-ahead log alone, as in a database that is in use.
WRITES = """
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA journal_mode = WAL")
database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
database.execute("UPDATE alembic_version SET version_num = ?", [sys.argv[2]])
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "prefect.db"
    opened = sqlite3.connect(path)
    opened.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    opened.execute("INSERT INTO alembic_version VALUES (?)", [SHIPPED])
    opened.execute("CREATE TABLE flow_run (id INTEGER PRIMARY KEY, name TEXT)")
    opened.executemany("INSERT INTO flow_run (name) VALUES (?)", [["x" * 100]] * 1000)
    opened.commit()
    opened.close()
    return path


def leave_log(path: Path, revision: str) -> None:
    """Leave a database as a killed server does."""
    subprocess.run([sys.executable, "-c", f"{WRITES}os._exit(0)", path, revision], check=True)


def refusal(path: Path) -> str:
    """The line for a database, "" for none; no byte beside it changes."""

    def files() -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in path.parent.iterdir()}

    before = files()
    line = ""
    try:
        check_database(Settings(home=path.parent))
    except BadInput as error:
        line = str(error)
    assert files() == before
    return line


def overwrite(path: Path, start: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(data)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "other file": (lambda path: path.write_bytes(b"no database" * 1000), "file is not a database"),
    "cut": (lambda path: os.truncate(path, 50_000), "database disk image is malformed"),
    "pages": (
        lambda path: overwrite(path, 60_000, b"\xa5" * 8192),
        "database disk image is malformed",
    ),
}


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_database_is_refused_at_once(case: str, log: bool, database: Path) -> None:
    if log:
        leave_log(database, SHIPPED)
    damage, reason = DAMAGE[case]
    damage(database)
    line = refusal(database)
    assert (
        f"database {database} can't be used ({reason}): it is damaged or of another version" in line
    )
    assert "move it away, or set PREFECT_HOME" in line


def test_database_of_a_newer_version_is_refused_by_its_revision(database: Path) -> None:
    leave_log(database, "ffffffffffff")
    assert "Can't locate revision identified by 'ffffffffffff'" in refusal(database)
    with closing(sqlite3.connect(database)) as opened:
        opened.execute("PRAGMA journal_mode = DELETE")
    assert "Can't locate revision identified by 'ffffffffffff'" in refusal(database)


def test_good_database_passes_in_a_tenth_of_a_second(database: Path) -> None:
    start = time.process_time()
    assert not refusal(database)
    assert time.process_time() - start < 0.1
    leave_log(database, SHIPPED)
    assert not refusal(database)
    Path(f"{database}-shm").unlink()
    assert not refusal(database)


def test_database_that_a_server_is_writing_passes(database: Path) -> None:
    server = [
        sys.executable,
        "-c",
        f"{WRITES}print(flush=True)\nsys.stdin.read()",
        str(database),
        SHIPPED,
    ]
    with subprocess.Popen(server, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        assert not refusal(database)
        process.communicate()


@pytest.mark.parametrize("content", [None, b""])
def test_database_that_is_not_there_passes(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "prefect.db").write_bytes(content)
    assert not refusal(tmp_path / "prefect.db")
