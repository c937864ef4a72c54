"""Prefect without noise: its log, its warnings and its temporary server's own output kept quiet.

With PREFECT_API_URL set, or a profile that names a server, that server is used and nothing is started.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from tasks.vision.quiet import quiet_output

QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
}


@contextmanager
def quiet_prefect() -> Iterator[None]:
    """Import Prefect and start its temporary server, if it needs one, without a word from either.

    What goes wrong in a run still reaches the caller as an exception.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    from prefect.settings import get_current_settings

    if get_current_settings().api.url is None:
        from prefect.server.api.server import SubprocessASGIServer

        with quiet_output():
            SubprocessASGIServer().start()
    logging.getLogger("prefect").propagate = False
    yield
