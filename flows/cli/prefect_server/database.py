"""Look into Prefect's SQLite database before its server starts, which needs many seconds to find a fault.

Read without writing a byte, even where a server uses the file or a killed one has left a log beside it.
"""

from __future__ import annotations

import re
import sqlite3
import time
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.store.addresses import without_secrets
from tasks.vision.errors import BadInput

if TYPE_CHECKING:
    from prefect.settings import Settings

_SQLITE = "sqlite+aiosqlite:///"
_MIGRATIONS = "server/database/_migrations/versions/sqlite"  # in Prefect's package
_TIME_LIMIT = 0.05  # seconds for the search for damaged pages
_DAMAGE = re.compile(r"\*\*\*|Tree|Page|On |Freelist")  # other lines are broken constraints


def check_database(settings: Settings) -> None:
    """Raise `BadInput` if Prefect's database is a file that is damaged or of a newer version of Prefect."""
    address = _address(settings)
    if address.startswith(_SQLITE):
        prefect = find_spec("prefect")
        folders = prefect.submodule_search_locations if prefect else None
        migrations = Path((folders or ["."])[0], _MIGRATIONS)
        fault = database_fault(Path(address.removeprefix(_SQLITE).partition("?")[0]), migrations)
        if fault:
            raise unusable_database(settings, fault)


def unusable_database(settings: Settings, fault: str) -> BadInput:
    """The error for a database that the server can't use."""
    address = _address(settings).removeprefix(_SQLITE)
    return BadInput(
        without_secrets(
            f"Prefect's database {address} can't be used ({fault}): it is damaged or of another version of "
            "Prefect; move it away, or set PREFECT_HOME to another folder"
        )
    )


def _address(settings: Settings) -> str:
    given = settings.server.database.connection_url
    return given.get_secret_value() if given else f"{_SQLITE}{settings.home}/prefect.db"


def database_fault(path: Path, migrations: Path) -> str:
    """What is wrong with an SQLite database of Prefect, "" if nothing is seen or there is none.

    Args:
        migrations: the folder of the installed Prefect's migrations.
    """
    try:
        if not path.is_file() or not path.stat().st_size:
            return ""  # the server creates it
        with path.open("rb") as file:
            if file.read(16) != b"SQLite format 3\0":
                return "file is not a database"
        with closing(sqlite3.connect(_read_only(path), timeout=0.02, uri=True)) as database:
            known = _revisions_of(migrations)
            unknown = _revisions(database) - known
            if known and unknown:
                return f"Can't locate revision identified by '{min(unknown)}'"
            return _damage(database)
    except sqlite3.Error as error:
        damaged = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
        return str(error) if damaged and not Path(f"{path}-journal").exists() else ""
    except OSError as error:
        return str(error.strerror)


def _read_only(path: Path) -> str:
    """The URI that reads a database, with its write-ahead log if there is one, and creates no file."""
    options = "mode=ro&readonly_shm=1" if Path(f"{path}-wal").exists() else "immutable=1"
    return f"{path.absolute().as_uri()}?{options}"


def _revisions(database: sqlite3.Connection) -> set[str]:
    is_there = "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"
    if not database.execute(is_there).fetchone():
        return set()
    return {revision for (revision,) in database.execute("SELECT version_num FROM alembic_version")}


def _revisions_of(migrations: Path) -> set[str]:
    files = (file.read_text() for file in migrations.glob("*.py"))
    return {
        found[1] for text in files if (found := re.search(r"^revision = \"(\w+)\"", text, re.M))
    }


def _damage(database: sqlite3.Connection) -> str:
    """What is wrong with its pages, as far as that is found within the time limit."""
    end = time.monotonic() + _TIME_LIMIT
    database.set_progress_handler(lambda: time.monotonic() > end, 1000)
    try:
        for (line,) in database.execute("PRAGMA quick_check(1)"):
            if _DAMAGE.match(line):
                return "database disk image is malformed"
    except sqlite3.OperationalError:  # interrupted
        pass
    return ""
