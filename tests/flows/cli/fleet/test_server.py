"""`relevo server` tells Prefect where it listens, and the UI where the API is."""

from __future__ import annotations

import pytest

from flows.cli.fleet.server import settings_of

API = "PREFECT_UI_API_URL"


@pytest.mark.parametrize(
    ("host", "given", "ui"),
    [
        ("127.0.0.1", {}, None),  # Prefect derives it from host and port
        ("0.0.0.0", {}, "/api"),
        ("::", {}, "/api"),
        ("a.name", {}, None),
        ("0.0.0.0", {"PREFECT_API_URL": "http://x/api"}, None),
        ("0.0.0.0", {"PREFECT_SERVER_UI_API_URL": "http://x/api"}, None),
    ],
)
def test_ui_finds_the_api_from_any_machine(
    host: str, given: dict[str, str], ui: str | None
) -> None:
    settings = settings_of(host, 4300, given)
    assert settings["PREFECT_SERVER_API_HOST"] == host
    assert settings["PREFECT_SERVER_API_PORT"] == "4300"
    assert settings.get(API) == ui
