"""`relevo worker`: take flow runs of a work pool and run them on this machine."""

from __future__ import annotations

import os
from typing import Annotated

from cyclopts import Parameter

from flows.cli.fleet.deploy_pools import check_pool
from flows.cli.prefect_server.server import quiet_prefect
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
    pool: str,
    limit: Annotated[int, Parameter(negative="")] = 1,
    name: str | None = None,
    metrics_port: Annotated[str | None, Parameter(env_var="RELEVO_METRICS_PORT")] = None,
) -> int:
    """Run flows of a work pool on this machine, until it is stopped.

    Python and the libraries are imported once, not for each run as by `prefect worker start`.

    Example: relevo worker --pool relevo-gpu --limit 1

    Parameters
    ----------
    pool
        relevo-gpu trains; relevo-cpu prepares data, and waits for trainings. Others, which a recipe's
        stages name, train, too.
    limit
        How many runs may be under way at the same time on this machine.
    name
        Its name in Prefect's UI.
    metrics_port
        Serve metrics for Prometheus at this port of 127.0.0.1, or at ADDRESS:PORT. They are readable
        without a password.
    """
    if limit < 1:
        raise BadInput(f"--limit {limit}: expected 1 or more")
    if name and ("/" in name or "%" in name):
        raise BadInput(f"--name {name!r}: expected a name without / and %")
    metrics_at = _address(metrics_port) if metrics_port else None
    for variable, value in DEFAULTS.items():
        os.environ.setdefault(variable, value)
    with quiet_prefect(own_server=False):
        from prefect.client.orchestration import get_client

        from flows.workers.worker import run_worker

        with get_client(sync_client=True) as client:
            check_pool(client, pool)

        run_worker(pool, limit, name, metrics_at)
    return 0


def _address(given: str) -> tuple[str, int]:
    """Return the address and the port of PORT or ADDRESS:PORT."""
    host, _, port = given.rpartition(":")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 2**16):
        raise BadInput(
            f"--metrics-port {given!r}: expected a port, 1 to 65535, or ADDRESS:PORT, 0.0.0.0:9400"
        )
    return host.strip("[]") or "127.0.0.1", int(port)
