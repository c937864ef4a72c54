"""Addresses that contain a name and a password: neither is ever printed."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings
from support.command import Relevo
from support.results import REF, bare_summary

from flows.cli.prefect_server import address as prefect_address
from flows.recipes.load import load_recipe
from tasks.io.locations import local_data
from tasks.monitoring import mlflow
from tasks.progress import Event, listening
from tasks.runs.publish import FinishedRun
from tasks.store.addresses import without_secrets
from tasks.store.base import StoreError
from tasks.store.opening import open_store
from tasks.vision.data.dataset import Description
from tasks.vision.errors import BadInput

SECRET = "me:TOPSECRET/with+slashes@"


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ("http://host:4200/api is there", "http://host:4200/api is there"),
        (f"at http://{SECRET}host:4200/api, no", "at http://host:4200/api, no"),
        (f"'s3://{SECRET}bucket' or https://{SECRET}b", "'s3://bucket' or https://b"),
        ("ask you@example.com", "ask you@example.com"),
    ],
)
def test_without_secrets_removes_only_credentials(given: str, left: str) -> None:
    assert without_secrets(given) == left


@pytest.mark.parametrize("store", [f"https://{SECRET}host", f"s3://{SECRET}bucket/x"])
def test_store_error_names_the_address_without_secrets(store: str) -> None:
    with pytest.raises(StoreError) as refused:
        open_store(store)
    assert "TOPSECRET" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("s3:/bucket/p", "s3://bucket/p"),
        ("s3:bucket/p", "s3://bucket/p"),
        ("s3//bucket/p", "s3://bucket/p"),
        ("S3://bucket/p", "s3://bucket/p"),
        ("file:/folder", "s3://bucket/prefix"),
        ("gs:/bucket", "s3://bucket/prefix"),
    ],
)
def test_address_that_lost_a_part_of_its_scheme_is_no_folder(given: str, meant: str) -> None:
    for resolve, what in ((open_store, "store"), (local_data, "data")):
        with pytest.raises(StoreError, match=f"^{what} '{given}': did you mean '{meant}'"):
            resolve(given)


@pytest.mark.parametrize(
    "given", ["s3", "./s3:/b", "C:/photos", "a//b", "run:2", "s3-copy", "file:///f", "/s3:/b"]
)
def test_names_of_folders_are_no_address(given: str) -> None:
    path = given.removeprefix("file://")
    assert open_store(given).uri == str(Path(path).absolute())
    if path == given:
        assert local_data(given) == given


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9/my-bucket", "http://my-bucket.s3.x:9/"])
def test_endpoint_with_the_bucket_in_it_is_named(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    for request in (
        lambda: open_store("s3://my-bucket/p").check(),
        lambda: local_data("s3://my-bucket/photos"),
    ):
        with pytest.raises(StoreError, match="AWS_ENDPOINT_URL_S3 ends in the bucket 'my-bucket'"):
            request()


@pytest.mark.parametrize("bucket", [f"{SECRET}bucket", "Bucket", "10.0.0.1", "b" * 64, ""])
def test_local_data_refuses_a_malformed_bucket_without_a_request(bucket: str) -> None:
    with pytest.raises(StoreError, match=r"^data 's3://.*: expected s3://bucket/") as refused:
        local_data(f"s3://{bucket}/pictures")
    assert "TOPSECRET" not in str(refused.value)


@pytest.mark.parametrize("scheme", ["https", "http", "gs", "file"])
def test_local_data_refuses_other_schemes_without_secrets(scheme: str) -> None:
    with pytest.raises(BadInput, match=rf"'{scheme}://host/x.zip'.+give a path") as refused:
        local_data(f"{scheme}://{SECRET}host/x.zip")
    assert "TOPSECRET" not in str(refused.value)


@pytest.mark.parametrize("secret", [SECRET, "me:TOPSECRET@"])
def test_check_server_names_the_address_without_secrets(
    secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefect_address, "MAX_CONNECT_ATTEMPTS", 1)
    with (
        temporary_settings({PREFECT_API_URL: f"http://{secret}127.0.0.1:9/api"}),
        pytest.raises(BadInput, match="doesn't answer") as refused,
    ):
        prefect_address.check_server(get_current_settings())
    assert "TOPSECRET" not in str(refused.value)
    assert "127.0.0.1:9/api" in str(refused.value)


def test_what_mlflow_says_is_printed_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{SECRET}127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    finished = FinishedRun(
        name="one",
        recipe=load_recipe("digits"),
        source="digits",
        dataset=REF,
        data=Description(image_size=8, classes=[], counts={}),
        results={},
        report=REF,
        started=datetime.now(UTC),
        flow_run=None,
    )
    events: list[Event] = []
    with listening(events.append):
        mlflow.track(bare_summary("one"), finished, open_store("store"))
    assert len(events) == 1
    assert re.match("not logged: .*127.0.0.1.*9", events[0].message)
    assert "TOPSECRET" not in events[0].message


def test_the_command_line_repeats_no_secret(relevo: Relevo) -> None:
    done = relevo("run", "--data", f"https://{SECRET}host/x.zip")
    assert done.status == 2
    assert "TOPSECRET" not in done.out + done.err
    assert "https://host/x.zip" in done.err
