"""Warn of a Prefect server elsewhere without a password: anyone who reaches it can run code on the workers."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from urllib.parse import urlsplit

import httpx

from tasks.store.addresses import without_secrets

TIMEOUT = 5.0  # seconds


def open_server_warning(url: str | None) -> str | None:
    """Return a warning if the server at this API address is elsewhere and answers without a password."""
    host = urlsplit(url or "").hostname
    if not url or not host or _is_here(host):
        return None
    with suppress(httpx.HTTPError, httpx.InvalidURL):
        if httpx.get(f"{url.rstrip('/')}/admin/version", timeout=TIMEOUT).status_code == 200:
            return (
                f"Prefect's server at {without_secrets(url)} asks for no password, so anyone who reaches "
                "it can run code on the workers; set PREFECT_SERVER_API_AUTH_STRING where it starts, and "
                "PREFECT_API_AUTH_STRING everywhere else"
            )
    return None


def warn_of_open_server() -> None:
    """Log the warning, if there is reason for it, in the current run's log."""
    from prefect.logging import get_run_logger
    from prefect.settings import get_current_settings

    if line := open_server_warning(get_current_settings().api.url):
        get_run_logger().warning(line)


def _is_here(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
