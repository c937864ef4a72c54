"""`relevo server`: Prefect's server for a fleet."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Annotated

from cyclopts import Parameter

from flows.cli.prefect_server.database import check_database
from flows.cli.prefect_server.garbage_thread import collect_garbage_in_thread
from flows.cli.prefect_server.proxies import importing_prefect
from tasks.vision.errors import BadInput

UI_API_URL = ("PREFECT_UI_API_URL", "PREFECT_SERVER_UI_API_URL")


def server(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(negative="")] = 4200,
) -> None:
    """Start Prefect's server and its UI on this machine, until it is stopped.

    It is that of `prefect server start`, with its settings, but on SQLite it doesn't stand still for up to a
    minute when many runs are under way.

    Example: relevo server --host 0.0.0.0

    Parameters
    ----------
    host
        The address to listen at; 0.0.0.0 is every address of this machine.
    port
        The port to listen at.
    """
    _check_address(host, port)
    os.environ |= settings_of(host, port, os.environ)
    collect_garbage_in_thread()
    with importing_prefect():
        from prefect.cli import app
        from prefect.settings import get_current_settings
    check_database(get_current_settings())
    sys.argv = ["prefect", "server", "start"]
    app()


def settings_of(host: str, port: int, given: Mapping[str, str]) -> dict[str, str]:
    """Return Prefect's settings, as variables, for a server at that address; `given` are those that are set."""
    settings = {"PREFECT_SERVER_API_HOST": host, "PREFECT_SERVER_API_PORT": str(port)}
    if _is_every_address(host) and given.keys().isdisjoint(("PREFECT_API_URL", *UI_API_URL)):
        settings[UI_API_URL[0]] = "/api"  # where the browser has the page from
    return settings


def _is_every_address(host: str) -> bool:
    """True for 0.0.0.0 and ::."""
    try:
        return ip_address(host).is_unspecified
    except ValueError:  # a name
        return False


def _check_address(host: str, port: int) -> None:
    """Raise `BadInput` if this process can't listen at that address."""
    if not 0 < port < 2**16:
        raise BadInput(f"--port {port}: expected a port, 1 to 65535")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, _, _, _, address = found[0]
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        raise BadInput(
            f"can't listen at {host}:{port} ({error.strerror}); give another --host or --port"
        ) from None
