"""Fixtures: buckets on moto's server, a proxy that injects faults, and stores of both kinds."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from support.relay import SECRETS, Fault, FaultOf, Relay
from tasks.store.base import Store, StoreError
from tasks.store.opening import open_store

StartRelay = Callable[..., Relay]
FAULTS: list[Fault] = ["reset", "truncate", (500, "InternalError"), (503, "SlowDown")]


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    """moto's server on a free port."""
    from moto.s3.responses import S3Response
    from moto.server import ThreadedMotoServer

    # S3 checks a condition and writes in one step; moto in two.
    lock, put_object = threading.RLock(), S3Response.put_object

    def atomic(self: S3Response) -> Any:
        with lock:
            return put_object(self)

    S3Response.put_object = atomic
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def s3(s3_url: str) -> Any:
    """The test's own client, which bypasses the store."""
    key, secret = SECRETS
    return boto3.client(
        "s3",
        endpoint_url=s3_url,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
    )


@pytest.fixture
def s3_settings(s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point boto3 to that server, without the user's own settings, and use an empty blob cache."""
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    values = {
        "AWS_ENDPOINT_URL_S3": s3_url,
        "AWS_ACCESS_KEY_ID": SECRETS[0],
        "AWS_SECRET_ACCESS_KEY": SECRETS[1],
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        "AWS_EC2_METADATA_DISABLED": "true",
        "RELEVO_BLOB_CACHE": str(tmp_path / "blobs"),
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def bucket(s3_settings: None, s3: Any) -> str:
    """A new, empty bucket."""
    name = f"bucket-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=name)
    return name


@dataclass
class Backend:
    """A store, and a function that overwrites what it holds, bypassing it."""

    store: Store
    overwrite: Callable[[str, bytes], None]


@pytest.fixture(params=["local", "s3"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    if request.param == "local":
        folder = tmp_path / "store"

        def overwrite_file(key: str, content: bytes) -> None:
            (folder / key).write_bytes(content)

        return Backend(open_store(folder), overwrite_file)
    name, client = request.getfixturevalue("bucket"), request.getfixturevalue("s3")

    def overwrite_object(key: str, content: bytes) -> None:
        client.put_object(Bucket=name, Key=f"some/prefix/{key}", Body=content)

    return Backend(open_store(f"s3://{name}/some/prefix"), overwrite_object)


@pytest.fixture
def store(backend: Backend) -> Store:
    return backend.store


@pytest.fixture(scope="session")
def relay_server(s3_url: str) -> Iterator[Relay]:
    server = Relay(s3_url)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def relay(relay_server: Relay, s3_settings: None, monkeypatch: pytest.MonkeyPatch) -> StartRelay:
    """Start the relay between the store and the server, with a fault to inject."""

    def start(fault: FaultOf = lambda name: None) -> Relay:
        relay_server.fault, relay_server.requests, relay_server.dropped = fault, [], set()
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", relay_server.url)
        return relay_server

    return start


@pytest.fixture
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let boto3 retry without pauses."""
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda seconds: None))


def line(error: StoreError) -> str:
    """The message, which is one line without a secret in it."""
    text = str(error)
    assert "\n" not in text
    assert not any(secret in text for secret in SECRETS)
    return text
