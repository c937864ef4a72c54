"""A Prefect server elsewhere that asks for no password is warned of; one that asks, or is here, is not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from flows.dispatch.open_server import open_server_warning


@contextmanager
def answering(status: int) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/api/admin/version" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *words: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("0.0.0.0", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("status", "warned"), [(200, True), (401, False), (404, False)])
def test_a_server_elsewhere_without_a_password_is_warned_of(status: int, warned: bool) -> None:
    with answering(status) as port:
        # Not a loopback address, though it leads here.
        said = open_server_warning(f"http://me:secret@0.0.0.0:{port}/api")
        assert (said is not None) == warned
        if said:
            assert "asks for no password" in said
            assert "secret" not in said
        for here in ("127.0.0.1", "localhost", "[::1]"):
            assert open_server_warning(f"http://{here}:{port}/api") is None


def test_a_server_out_of_reach_or_none_is_not_warned_of() -> None:
    assert open_server_warning(None) is None
    assert open_server_warning("http://0.0.0.0:9/api") is None


def test_prefects_server_without_a_password_answers_as_expected(server: str) -> None:
    import httpx

    assert httpx.get(f"{server}/admin/version", timeout=60).status_code == 200
