"""Silence Prefect's output, and start its temporary server where no server is configured.

A server that PREFECT_API_URL or a Prefect profile names is used as it is.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from flows.cli.prefect_server.address import check_server, origin_of
from flows.cli.prefect_server.database import check_database, unusable_database
from flows.cli.prefect_server.proxies import check_proxies, importing_prefect
from tasks.store.addresses import without_secrets
from tasks.vision.device import quiet_output
from tasks.vision.errors import BadInput

if TYPE_CHECKING:
    from prefect.settings import Settings

QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
}
PORTS = 5  # that are tried, since another process may take one first

# The server exits when its standard input closes: with its parent, even if that is killed.
_SERVE = """\
import json, os, signal, sys, threading, time
sys.path[:] = json.loads(sys.argv[2])
from flows.cli.prefect_server.garbage_thread import collect_garbage_in_thread
collect_garbage_in_thread()
import uvicorn

def exit_with_parent():
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)
    os._exit(0)

threading.Thread(target=exit_with_parent, daemon=True).start()
uvicorn.run(
    "prefect.server.api.server:create_app",
    factory=True, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", lifespan="on",
)
"""


@contextmanager
def quiet_prefect(
    *,
    own_server: bool = True,
    say: Callable[[str], None] = lambda _: None,
    meanwhile: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Import Prefect silently, and connect to its server or start a temporary one.

    Errors of a run still reach the caller as exceptions.

    Args:
        own_server: whether a temporary server will do.
        say: called with a line when a temporary server starts, which takes seconds, or when a file names
            the server.
        meanwhile: called while a temporary server starts.

    Raises:
        BadInput: the configured server doesn't answer, is none of Prefect's, or refuses the key; none is
            configured and `own_server` is false; the temporary server can't start.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if not os.environ.get("PREFECT_API_URL", "unset").strip():
        del os.environ["PREFECT_API_URL"]  # Prefect reads an empty one as an address
    if own_server and "PREFECT_API_URL" not in os.environ:
        os.environ.setdefault("DO_NOT_TRACK", "1")  # else Prefect prints a notice of its telemetry
        say("starting")
    with importing_prefect():
        from prefect.settings import get_current_settings

        settings = get_current_settings()
    check_proxies(settings.api.url)
    if settings.api.url is None:
        if not own_server:
            raise BadInput(
                "there is no Prefect server; set PREFECT_API_URL to its http://host:4200/api"
            )
        if not settings.server.ephemeral.enabled:
            raise BadInput(
                "no Prefect server is configured, and PREFECT_SERVER_ALLOW_EPHEMERAL_MODE is false in "
                f"{origin_of('PREFECT_SERVER_ALLOW_EPHEMERAL_MODE')}; set PREFECT_API_URL, or allow it"
            )
        _check_home(settings.home)
        check_database(settings)
        _start_server(meanwhile)
    else:
        check_server(settings, own_server=own_server)
        if "PREFECT_API_URL" not in os.environ:
            origin = origin_of("PREFECT_API_URL")
            say(without_secrets(f"using the server at {settings.api.url}, from {origin}"))
    logging.getLogger("prefect").propagate = False
    yield


def _start_server(meanwhile: Callable[[], None]) -> None:
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import get_current_settings

    class OwnSession(SubprocessASGIServer):
        """Prefect's temporary server in a session of its own, so that Ctrl-C stops the run first.

        It notices when the server ends during its start. Relies on private parts of Prefect:
        tests/flows/cli/prefect_server/test_prefect_server.py.
        """

        def start(self, timeout: int | None = None) -> None:
            if self.running:
                return
            settings = get_current_settings()
            limit = timeout or settings.server.ephemeral.startup_timeout_seconds
            end = time.monotonic() + limit
            self.running = True
            atexit.register(self.stop)
            for _ in range(PORTS):
                self.port = self.find_available_port()
                with tempfile.TemporaryFile("w+") as errors:
                    process = self.server_process = self._start_process(settings, errors)
                    meanwhile()
                    while process.poll() is None:
                        if _is_healthy(self.api_url):
                            return
                        if time.monotonic() > end:
                            raise BadInput(
                                f"Prefect's temporary server didn't start within {limit} s; raise "
                                "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS, or set PREFECT_API_URL"
                            )
                        time.sleep(0.1)
                    errors.seek(0)
                    output = errors.read()
                if "address already in use" not in output:
                    break
            raise _reason(output, settings)

        def _start_process(self, settings: Settings, errors: IO[str]) -> subprocess.Popen[bytes]:
            given = settings.to_environment_variables(exclude_unset=True)
            ours = {
                "PREFECT_UI_ENABLED": "0",
                "PREFECT__SERVER_EPHEMERAL": "1",
                "PREFECT__SERVER_FINAL": "1",
                "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",  # read by `_reason`, never shown
                "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "ERROR",
            }
            return subprocess.Popen(
                [sys.executable, "-P", "-c", _SERVE, str(self.port), json.dumps(sys.path)],
                stdin=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **given, **ours},
                start_new_session=True,
            )

    with quiet_output():
        OwnSession().start()  # registers itself as the server of Prefect's clients


def _is_healthy(url: str) -> bool:
    import httpx

    try:
        return httpx.get(f"{url}/health", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def _reason(output: str, settings: Settings) -> BadInput:
    """The error that says why the temporary server has ended, from what it wrote to standard error."""
    lines = re.findall(r"^[\w.]+(?:Error|Exception)\b.*", output, re.M)
    line = lines[-1].rpartition("Error: ")[2] if lines else "it gave no reason"
    line = line.removeprefix("(sqlite3.DatabaseError) ")
    if not re.search("sqlalchemy|sqlite3|alembic", output):
        return BadInput(f"Prefect's temporary server ended as it started ({line})")
    return unusable_database(settings, line)


def _check_home(home: Path) -> None:
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        raise BadInput(
            f"Prefect's folder {home} can't be written ({error.strerror}); "
            "make it writable, or set PREFECT_HOME to another"
        ) from None
