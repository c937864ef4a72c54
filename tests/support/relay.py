"""A proxy on 127.0.0.1 that injects faults between a store and its server."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

# May stand in a server's messages, and must not in the store's.
SECRETS = ("AKIATESTING", "hush-hush-secret")

Fault = str | tuple[int, str]
FaultOf = Callable[[str], Fault | None]
STALL = 1.5  # seconds, a twentieth of boto3's timeout in the store


class Relay(ThreadingHTTPServer):
    """A proxy that records requests and injects faults.

    `fault` maps each request's name to None (forward it), "reset" or "truncate" (break off in the middle
    of the body), "stall" (pause before the response), or a status and an S3 error code to respond with.
    """

    daemon_threads = True

    def __init__(self, server: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.server = urlsplit(server).netloc
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.fault: FaultOf = lambda name: None
        self.dropped: set[str] = set()  # headers that are not forwarded
        self.requests: list[str] = []
        self.lock = threading.Lock()

    def record(self, name: str) -> Fault | None:
        with self.lock:
            self.requests.append(name)
            return self.fault(name)

    def count(self, method: str) -> int:
        return sum(name.startswith(f"{method} ") for name in self.requests)

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing: interrupted connections are expected."""


class _Handler(BaseHTTPRequestHandler):
    server: Relay
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _relay(self) -> None:
        fault = self.server.record(f"{self.command} {self.path} {self.headers.get('Range', '')}")
        length = int(self.headers.get("Content-Length", 0))
        if fault == "reset" and length:
            self.rfile.read(length // 2)
            self._reset()
            return
        body = self.rfile.read(length)
        if fault == "stall":
            time.sleep(STALL)
            fault = None
        if isinstance(fault, tuple):
            status, code = fault
            xml = f"<Error><Code>{code}</Code><Message>{' '.join(SECRETS)}</Message></Error>"
            self._respond(status, {}, xml.encode())
            return
        upstream = http.client.HTTPConnection(self.server.server, timeout=30)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in self.server.dropped}
        upstream.request(self.command, self.path, body, headers)
        response = upstream.getresponse()
        self._respond(response.status, dict(response.headers), response.read(), fault)
        upstream.close()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _relay  # noqa: N815

    def _respond(
        self, status: int, headers: dict[str, str], body: bytes, fault: str | None = None
    ) -> None:
        if fault and self.command == "HEAD":
            self._reset()
            return
        self.send_response_only(status)
        to_head = self.command == "HEAD"
        for name, value in headers.items():
            if name.lower() not in {"connection", "transfer-encoding"} and (
                to_head or name.lower() != "content-length"
            ):
                self.send_header(name, value)
        if not to_head:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if not to_head:
            self.wfile.write(body[: len(body) // 2] if fault else body)
        if fault == "reset" or (fault and not body):
            self._reset()
        elif fault:
            self.close_connection = True

    def _reset(self) -> None:
        # Without lingering, close sends a reset.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        with suppress(OSError):
            self.wfile.close()
        self.connection.close()
        self.close_connection = True

    def log_message(self, *words: object) -> None:
        """Print nothing."""
