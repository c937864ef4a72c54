"""Silence Prefect's output, and start its temporary server where no server is configured.

A server that PREFECT_API_URL or a Prefect profile names is used as it is.
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
MAX_CONNECT_ATTEMPTS = 3

# The server exits when its standard input closes: with its parent, even if that is killed.
_SERVE = """\
import os, signal, sys, threading, time
import uvicorn

def exit_with_parent():
    sys.stdin.buffer.read()
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
    *, own_server: bool = True, starting: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Import Prefect silently, and connect to its server or start a temporary one.

    Errors of a run still reach the caller as exceptions.

    Args:
        own_server: whether a temporary server will do.
        starting: called before a temporary server starts, which takes seconds.

    Raises:
        BadInput: the configured server doesn't answer; none is configured and `own_server` is false;
            or Prefect's home is not writable.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if not os.environ.get("PREFECT_API_URL", "unset").strip():
        del os.environ["PREFECT_API_URL"]  # Prefect reads an empty one as an address
    if own_server and "PREFECT_API_URL" not in os.environ:
        os.environ.setdefault("DO_NOT_TRACK", "1")  # else Prefect prints a notice of its telemetry
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
        """Prefect's temporary server in a session of its own, so that Ctrl-C stops the run first.

        Overrides a private method of Prefect: tests/flows/cli/test_prefect_server.py.
        """

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
        OwnSession().start()  # registers itself as the server of Prefect's clients


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

    for attempt in range(1, MAX_CONNECT_ATTEMPTS + 1):
        try:
            httpx.get(f"{url.rstrip('/')}/health", timeout=20)  # any response will do
            return
        except (httpx.TransportError, httpx.InvalidURL, ValueError) as error:
            if attempt == MAX_CONNECT_ATTEMPTS:
                # An invalid URL is not quoted: the error may contain part of a password.
                reason = error if isinstance(error, httpx.TransportError) else "that is no URL"
                line = f"Prefect's server at {url} doesn't answer ({reason}); start it, correct "
                raise BadInput(
                    without_secrets(line) + "PREFECT_API_URL, or unset it to use a temporary server"
                ) from None
        time.sleep(2)
