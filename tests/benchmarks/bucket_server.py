"""moto's S3 server in a process of its own on 127.0.0.1, which counts the bytes of shards that it sends.

python tests/benchmarks/bucket_server.py PORT
It shares the machine's cores with what is measured, and reads an object whole for each part that is asked for.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3

AWS = {
    "AWS_ACCESS_KEY_ID": "benchmark",
    "AWS_SECRET_ACCESS_KEY": "benchmark",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
SENT = "/sent-bytes-of-shards"


def new_bucket() -> str:
    name = f"bucket-{uuid.uuid4().hex}"
    boto3.client("s3").create_bucket(Bucket=name)
    return name


@contextmanager
def served() -> Iterator[str]:
    """Run a server, with boto3's settings for it in the environment; yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    quiet, url = subprocess.DEVNULL, f"http://127.0.0.1:{port}"
    command = [sys.executable, __file__, str(port)]
    with subprocess.Popen(command, stdout=quiet, stderr=quiet) as server:
        try:
            while socket.socket().connect_ex(("127.0.0.1", port)):
                assert server.poll() is None, "moto's server has ended"
                time.sleep(0.1)
            os.environ.update(AWS, AWS_ENDPOINT_URL_S3=url)
            yield url
        finally:
            server.terminate()


def sent_bytes(url: str) -> int:
    """Bytes of shards that the server has sent so far."""
    with urllib.request.urlopen(url + SENT) as answer:
        return int(json.load(answer))


def serve(port: int) -> None:
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import run_simple

    inner, sent = DomainDispatcherApplication(create_backend_app), 0

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        nonlocal sent
        if environ["PATH_INFO"] == SENT:
            start_response("200 OK", [("Content-Type", "application/json")])
            return [json.dumps(sent).encode()]
        of_shard = environ["REQUEST_METHOD"] == "GET" and "/shards/" in environ["PATH_INFO"]

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            nonlocal sent
            if of_shard and status.startswith("2"):
                sent += int({name.lower(): value for name, value in headers}["content-length"])
            return start_response(status, headers, *more)

        return inner(environ, start)

    run_simple("127.0.0.1", port, app, threaded=True, request_handler=MotoRequestHandler)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
