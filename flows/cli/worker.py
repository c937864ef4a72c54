"""`relevo worker`: take flow runs of a work pool and run them on this machine."""

from __future__ import annotations

import os
from typing import Annotated, Literal

from cyclopts import Parameter

from flows.cli.prefect_server import quiet_prefect
from flows.dispatch.polling import OFTEN
from tasks.vision.errors import BadInput

# Prefect's own defaults find a dead worker never, and a new run after 10 s. An idle worker asks less often.
DEFAULTS = {
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    "PREFECT_WORKER_QUERY_SECONDS": str(OFTEN),
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO",
}


def worker(
    *,
    pool: Literal["relevo-cpu", "relevo-gpu"],
    limit: Annotated[int, Parameter(negative="")] = 1,
    name: str | None = None,
) -> int:
    """Run flows of a work pool on this machine, until it is stopped.

    Python and the libraries are imported once, not for each run as by `prefect worker start`.

    Example: relevo worker --pool relevo-gpu --limit 1

    Parameters
    ----------
    pool
        relevo-gpu trains; relevo-cpu prepares data, and waits for trainings.
    limit
        How many runs may be under way at the same time on this machine.
    name
        Its name in Prefect's UI.
    """
    if limit < 1:
        raise BadInput(f"--limit {limit}: expected 1 or more")
    if name and ("/" in name or "%" in name):
        raise BadInput(f"--name {name!r}: expected a name without / and %")
    for variable, value in DEFAULTS.items():
        os.environ.setdefault(variable, value)
    with quiet_prefect(own_server=False):
        from flows.workers.worker import run_worker

        run_worker(pool, limit, name)
    return 0
