"""What is wrong with a configured Prefect server, and where its address comes from, in one line and at once."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from prefect.context import use_profile
from prefect.settings import Profile, get_current_settings

from flows.cli.environment import set_up_process
from flows.cli.prefect_server.address import check_server, origin_of
from flows.cli.prefect_server.proxies import check_proxies
from tasks.vision.errors import BadInput


class _Server(BaseHTTPRequestHandler):
    """Another web server at /, and Prefect's API with a password below /api."""

    def do_GET(self) -> None:
        api = self.path.startswith("/api/")
        refused = self.path == "/api/admin/version" and "Authorization" not in self.headers
        self.send_response(401 if refused else 200)
        self.send_header("Content-Type", "application/json" if api else "text/html")
        self.end_headers()
        self.wfile.write(b"true" if api else b"<html>")

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(autouse=True)
def _machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working folder and home of Prefect, without proxies."""
    for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "PREFECT_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")
    monkeypatch.chdir(tmp_path)


def refused(monkeypatch: pytest.MonkeyPatch, url: str, **env: str) -> str:
    for name, value in {"PREFECT_API_URL": url, **env}.items():
        monkeypatch.setenv(name, value)
    with (
        use_profile(Profile(name="test", settings={}), override_environment_variables=False),
        pytest.raises(BadInput) as error,
    ):
        check_server(get_current_settings())
    return str(error.value)


def test_address_without_api_is_named_with_what_is_there(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = refused(monkeypatch, address)
    assert f"{address} (from the variable PREFECT_API_URL) is not Prefect's API" in line
    assert "status 200 and text/html; its address should end in /api" in line


def test_missing_password_is_named(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    line = refused(monkeypatch, f"{address}/api")
    assert "asks for a password; set PREFECT_API_AUTH_STRING" in line
    with use_profile(Profile(name="test", settings={}), override_environment_variables=False):
        monkeypatch.setenv("PREFECT_API_AUTH_STRING", "me:mine")
    with use_profile(Profile(name="test", settings={}), override_environment_variables=False):
        check_server(get_current_settings())


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (".env", "PREFECT_API_URL=http://127.0.0.1:9/api"),
        ("prefect.toml", 'api.url = "http://127.0.0.1:9/api"'),
        ("pyproject.toml", '[tool.prefect.api]\nurl = "http://127.0.0.1:9/api"'),
    ],
)
def test_origin_of_an_address_is_the_file_that_prefect_reads(
    file: str, text: str, tmp_path: Path
) -> None:
    (tmp_path / file).write_text(text)
    assert origin_of("PREFECT_API_URL") == str(tmp_path / file)
    with use_profile(Profile(name="test", settings={}), override_environment_variables=False):
        assert get_current_settings().api.url == "http://127.0.0.1:9/api"


def test_origin_of_an_address_in_no_file_is_the_profile(tmp_path: Path) -> None:
    with use_profile(Profile(name="night", settings={}, source=tmp_path / "profiles.toml")):
        assert origin_of("PREFECT_API_URL") == f"the profile 'night' in {tmp_path}/profiles.toml"


BROKEN = {
    "ALL_PROXY": ("socks5://127.0.0.1:9", "socksio is not installed"),
    "HTTPS_PROXY": ("socks://me:TOPSECRET@127.0.0.1:9", "is no proxy"),
    "SSL_CERT_FILE": ("/absent.pem", "No such file"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_proxy_or_certificates_that_can_not_be_used_are_dropped_or_named(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    value, reason = BROKEN[name]
    for url in (None, "http://127.0.0.1:4200/api"):
        monkeypatch.setenv(name, value)
        set_up_process()
        check_proxies(url)
        httpx.Client().close()
    monkeypatch.setenv(name, value)
    with pytest.raises(BadInput, match=f"{name} = .*{reason}") as error:
        check_proxies("https://prefect.example/api")
    assert "TOPSECRET" not in str(error.value)


@pytest.mark.parametrize("spelling", ["no_proxy", "NO_PROXY"])
def test_this_machine_is_reached_without_a_proxy(
    spelling: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv(spelling, "intranet, 10.0.0.1")
    set_up_process()
    assert httpx.get(f"{address}/api/health").text == "true"
    for name in ("no_proxy", "NO_PROXY"):
        assert os.environ[name] == "intranet,10.0.0.1,127.0.0.1,localhost,::1"
