"""The configured Prefect server: does it answer, is it Prefect's, and where does its address come from?"""

from __future__ import annotations

import base64
import os
import time
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.store.addresses import without_secrets
from tasks.vision.errors import BadInput

if TYPE_CHECKING:
    import httpx
    from prefect.settings import Settings

MAX_CONNECT_ATTEMPTS = 3
# Where each setting is in prefect.toml, and below [tool.prefect] of pyproject.toml.
IN_TOML = {
    "PREFECT_API_URL": ("api", "url"),
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": ("server", "ephemeral", "enabled"),
}


def check_server(settings: Settings, *, own_server: bool = True) -> None:
    """Check that a server of Prefect is at the configured address and accepts the configured key.

    Args:
        own_server: whether a temporary server would do.

    Raises:
        BadInput: nothing or something else answers, or the key is refused; where the address comes from.
    """
    url = str(settings.api.url).rstrip("/")
    where = f"Prefect's server at {url} (from {origin_of('PREFECT_API_URL')})"
    advice = "correct that address"
    if own_server:
        advice += ", or remove it to use a temporary server"
    answer = _get(f"{url}/health", where, advice)
    if url.startswith(settings.cloud.api_url):
        return  # Prefect Cloud has no such paths
    if answer.status_code != 200 or answer.text.strip() != "true":
        kind = answer.headers.get("content-type", "no type").partition(";")[0]
        end = "" if url.endswith("/api") else "; its address should end in /api"
        found = f"its /health has status {answer.status_code} and {kind}"
        raise BadInput(without_secrets(f"{where} is not Prefect's API ({found}{end}); ") + advice)
    key = settings.api.auth_string or settings.api.key
    header = {}
    if settings.api.auth_string:
        token = base64.b64encode(settings.api.auth_string.get_secret_value().encode()).decode()
        header = {"Authorization": f"Basic {token}"}
    elif settings.api.key:
        header = {"Authorization": f"Bearer {settings.api.key.get_secret_value()}"}
    answer = _get(f"{url}/admin/version", where, advice, header)
    if answer.status_code in (401, 403):
        given = "refuses the key of" if key else "asks for a password; set"
        raise BadInput(
            without_secrets(where)
            + f" {given} PREFECT_API_AUTH_STRING; expected the server's USER:PASSWORD"
        )


def _get(url: str, where: str, advice: str, header: dict[str, str] | None = None) -> httpx.Response:
    import httpx

    for attempt in range(1, MAX_CONNECT_ATTEMPTS + 1):
        try:
            return httpx.get(url, timeout=20, headers=header)
        except (httpx.TransportError, httpx.InvalidURL, ValueError) as error:
            if attempt == MAX_CONNECT_ATTEMPTS:
                # An invalid URL is not quoted: the error may contain part of a password.
                reason = error if isinstance(error, httpx.TransportError) else "that is no URL"
                line = f"{where} doesn't answer ({reason}); start it, or "
                raise BadInput(without_secrets(line) + advice) from None
        time.sleep(2)
    raise AssertionError


def origin_of(name: str) -> str:
    """Return where Prefect finds a setting: a variable's name, or else a file's path, or else the profile."""
    if name in os.environ:
        return f"the variable {name}"
    for file, holds in _files(name):
        if holds:
            return str(file.absolute())
    from prefect.context import get_settings_context

    profile = get_settings_context().profile
    return f"the profile {profile.name!r} in {profile.source}"


def _files(name: str) -> Iterator[tuple[Path, bool]]:
    with suppress(OSError, UnicodeDecodeError):
        yield Path(".env"), name in Path(".env").read_text("utf-8").upper()
    for file, above in (("prefect.toml", ()), ("pyproject.toml", ("tool", "prefect"))):
        with suppress(OSError, ValueError):
            table: Any = tomllib.loads(Path(file).read_text("utf-8"))
            for key in (*above, *IN_TOML[name]):
                table = table.get(key, {}) if isinstance(table, dict) else {}
            yield Path(file), table != {}
