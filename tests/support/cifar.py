"""CIFAR-10's archive in small, and a site that serves it."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import io
import struct
import tarfile
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tasks.vision.data import cifar10


def old_pickle(value: Any) -> bytes:
    """A value as Python 2 pickled it, in protocol 2: what the published batches are."""

    def write(value: Any) -> bytes:
        if isinstance(value, bytes):
            return b"T" + struct.pack("<I", len(value)) + value
        if isinstance(value, int):
            return b"J" + struct.pack("<i", value)
        if isinstance(value, list):
            return b"](" + b"".join(map(write, value)) + b"e"
        if isinstance(value, dict):
            items = b"".join(write(key) + write(one) for key, one in value.items())
            return b"}(" + items + b"u"
        shape = write(value.shape[0]) + write(value.shape[1]) + b"\x86"
        return (
            b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\1b\x87R(K\1"
            + shape
            + b"cnumpy\ndtype\nU\2u1K\0K\1\x87R(K\3U\1|NNNJ\xff\xff\xff\xff"
            + b"J\xff\xff\xff\xffK\0tb\x89"
            + write(value.tobytes())
            + b"tb"
        )

    return b"\x80\2" + write(value) + b"."


def cifar_batch(seed: int, count: int = 7) -> dict[bytes, Any]:
    rng = np.random.default_rng(seed)
    return {
        b"batch_label": b"a batch",
        b"labels": rng.integers(0, 10, count).tolist(),
        b"data": rng.integers(0, 256, (count, 3072), np.uint8),
        b"filenames": [b"file_%d_%d.png" % (seed, index) for index in range(count)],
    }


def cifar_archive(change: Callable[[dict[str, bytes]], None] = lambda _: None) -> bytes:
    files = {"batches.meta": b"not read", "test_batch": old_pickle(cifar_batch(6))}
    for number in (4, 1, 5, 3, 2):
        files[f"data_batch_{number}"] = old_pickle(cifar_batch(number))
    change(files)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


class Site:
    """A web site on this machine that gives one file; `faults` make it break off or fail."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.fault = ""
        self.requests = 0
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.requests += 1
                self.send_response(503 if site.fault == "busy" else 200)
                self.send_header("Content-Length", str(len(site.body)))
                self.end_headers()
                self.wfile.write(site.body[: 100 if site.fault == "broken" else None])

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/cifar-10-python.tar.gz"


@contextlib.contextmanager
def site_of(body: bytes) -> Iterator[Site]:
    """A running site that gives a file."""
    site = Site(body)
    thread = threading.Thread(target=site.server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield site
    finally:
        site.server.shutdown()
        site.server.server_close()
        thread.join()


@contextlib.contextmanager
def serving(body: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with site_of(body) as site:
        monkeypatch.setattr(cifar10, "URL", site.url)
        monkeypatch.setattr(cifar10, "SHA256", hashlib.sha256(body).hexdigest())
        for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(variable, raising=False)
        yield site
