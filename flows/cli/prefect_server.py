"""Prefect without noise: its log, its warnings and its temporary server's own output kept quiet.

With PREFECT_API_URL set, or a profile that names a server, that server is used and nothing is started.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.store.addresses import without_secrets
from tasks.vision.device import quiet_output
from tasks.vision.errors import BadInput

QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
}
MAX_CONNECT_ATTEMPTS = 3  # at a server that does not answer, before it is called dead

# Ends when its standard input does, that is with whoever started it, however that one ends.
_SERVE = """\
import os, signal, sys, threading, time
import uvicorn

def follow():
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)
    os._exit(0)

threading.Thread(target=follow, daemon=True).start()
uvicorn.run(
    "prefect.server.api.server:create_app",
    factory=True, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", lifespan="on",
)
"""


@contextmanager
def quiet_prefect(
    *, own_server: bool = True, starting: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Import Prefect and start its temporary server, if it needs one, without a word from either.

    What goes wrong in a run still reaches the caller as an exception. `starting` is called first
    where nobody names a server, since a server takes a while to start.

    Raises:
        BadInput: the server that the settings name does not answer, or Prefect's home can't be written;
            or they name none, and one's `own_server` would not do.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if not os.environ.get("PREFECT_API_URL", "unset").strip():
        del os.environ["PREFECT_API_URL"]  # Prefect would take it for an address
    if own_server and "PREFECT_API_URL" not in os.environ:
        os.environ.setdefault("DO_NOT_TRACK", "1")  # else it says on a terminal what it would track
        starting()
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if settings.api.url is None:
        if not own_server:
            raise BadInput(
                "there is no Prefect server; set PREFECT_API_URL to its http://host:4200/api"
            )
        _check_home(settings.home)
        _start_server()
    else:
        _check_server(settings.api.url)
    logging.getLogger("prefect").propagate = False
    yield


def _start_server() -> None:
    from prefect.server.api.server import SubprocessASGIServer

    class OwnSession(SubprocessASGIServer):
        """Prefect's temporary server, out of reach of the terminal's Ctrl-C, which a run outlives."""

        def _run_uvicorn_command(self) -> subprocess.Popen[bytes]:
            from prefect.settings import get_current_settings

            ours = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1"}
            given = get_current_settings().to_environment_variables(exclude_unset=True)
            return subprocess.Popen(
                [sys.executable, "-P", "-c", _SERVE, str(self.port)],
                stdin=subprocess.PIPE,
                env={**os.environ, **ours, "PREFECT__SERVER_FINAL": "1", **given},
                start_new_session=True,
            )

    with quiet_output():
        OwnSession().start()  # known to Prefect's client from now on


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


def _check_server(url: str) -> None:
    import httpx

    for knock in range(1, MAX_CONNECT_ATTEMPTS + 1):
        try:
            httpx.get(f"{url.rstrip('/')}/health", timeout=20)  # any answer will do
            return
        except (httpx.TransportError, httpx.InvalidURL, ValueError) as error:
            if knock == MAX_CONNECT_ATTEMPTS:
                # Why a URL can't be read quotes a piece of it, perhaps of its password.
                reason = error if isinstance(error, httpx.TransportError) else "that is no URL"
                line = f"Prefect's server at {url} doesn't answer ({reason}); start it, mend "
                raise BadInput(
                    without_secrets(line) + "PREFECT_API_URL, or unset it to use a temporary server"
                ) from None
        time.sleep(2)
