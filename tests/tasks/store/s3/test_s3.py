"""The S3 store alone: multipart transfers, retries, and its error messages."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from boto3.s3.transfer import TransferConfig
from support.buckets import FAULTS, StartRelay, line
from support.relay import Fault

from tasks.runs.gc import collect
from tasks.store.base import Damaged, Missing, StoreError, Unavailable
from tasks.store.marker import mark_store
from tasks.store.opening import open_store


def test_gc_aborts_incomplete_uploads(bucket: str, s3: Any, relay: StartRelay) -> None:
    def cut_off(key: str) -> None:
        which = {"Bucket": bucket, "Key": key}
        which["UploadId"] = s3.create_multipart_upload(**which)["UploadId"]
        s3.upload_part(**which, PartNumber=1, Body=b"pixels")

    def left() -> list[str]:
        return [each["Key"] for each in s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])]

    blob = "0" * 64
    others = [f"datasets/{blob}.safetensors", "x/other/program", f"y/datasets/{blob}.safetensors"]
    for key in (f"x/datasets/{blob}.safetensors", "x/runs/R/models/a/model.keras", *others):
        cut_off(key)
    store = f"s3://{bucket}/x"
    mark_store(open_store(store))
    began = s3.list_multipart_uploads(Bucket=bucket)["Uploads"][0]["Initiated"]  # moto: in 2010
    later = began + timedelta(hours=25)
    assert collect(store, now=began + timedelta(hours=23)).removed == []
    dry = collect(store, now=later, dry_run=True)
    assert len(left()) == 5
    assert collect(store, now=later).removed == dry.removed
    assert [(entry.key, entry.size) for entry in dry.removed] == [
        (f"datasets/.partial-{blob}", 6),
        ("runs/R/models/a/.partial-model", 6),
    ]
    assert sorted(left()) == sorted(others)
    assert collect(store, now=later).removed == []


def test_gc_without_the_right_to_list_uploads_collects_the_rest(
    bucket: str, relay: StartRelay, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(f"s3://{bucket}/x")
    mark_store(store)
    store.put("dataset", b"pixels")
    relay(lambda name: (403, "AccessDenied") if "?uploads" in name else None)
    later = datetime.now(UTC) + timedelta(days=15)
    assert len(collect(store.uri, now=later).removed) == 1
    assert "takes s3:ListBucketMultipartUploads" in caplog.text


def test_put_and_fetch_transfer_large_blobs_in_parts(
    bucket: str, relay: StartRelay, tmp_path: Path
) -> None:
    content = random.Random(1).randbytes((9 << 20) + 1)
    file = tmp_path / "large"
    file.write_bytes(content)
    watch = relay()
    store = open_store(f"s3://{bucket}/x")
    ref = store.put("dataset", file)
    assert sum("partNumber=" in name for name in watch.requests) == 2
    assert store.fetch(ref).read_bytes() == content
    assert sum("bytes=" in name for name in watch.requests) == 2


@pytest.mark.parametrize("parts", [1, 2])
def test_copy_stays_within_the_bucket(
    bucket: str, s3: Any, relay: StartRelay, monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    if parts == 2:
        config = TransferConfig(multipart_threshold=8 << 20, multipart_chunksize=8 << 20)
        monkeypatch.setattr("tasks.store.s3.objects.COPY", config)
    content = random.Random(1).randbytes((9 << 20) + 1)
    store = open_store(f"s3://{bucket}/x")
    ref = store.put("model", content)
    watch = relay()
    store.copy(ref.uri, "runs/a/labels.json", ref.size)
    assert watch.count("GET") == 0
    assert watch.count("HEAD") == parts - 1, "nobody asks for a size that is known"
    assert sum("partNumber=" in name for name in watch.requests) == (parts if parts > 1 else 0)
    assert store.sha256("runs/a/labels.json") == ref.sha256
    head = s3.head_object(Bucket=bucket, Key="x/runs/a/labels.json")
    assert (head["ContentType"], head["Metadata"]) == ("application/json", {"relevo": "1"})


def test_keys_reads_every_page(
    bucket: str, s3: Any, relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A page of 1,000 keys would take this test ten seconds.
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "4")
    store = open_store(f"s3://{bucket}/x")
    names = [f"runs/{number}" for number in range(9)]
    for name in names:
        store.write(name, b"")
    s3.put_object(Bucket=bucket, Key="x/runs/", Body=b"")
    watch = relay()
    assert list(store.keys("runs")) == names
    assert watch.count("GET") == 3


def test_write_sets_the_content_type(bucket: str, s3: Any) -> None:
    store = open_store(f"s3://{bucket}/x")
    store.write("runs/a/report.html", b"<p>")
    head = s3.head_object(Bucket=bucket, Key="x/runs/a/report.html")
    assert head["ContentType"] == "text/html"
    assert store.address("runs/a/report.html") == f"s3://{bucket}/x/runs/a/report.html"


def use_everything(address: str) -> None:
    """Use every operation of a store, on blobs of one part and more, and check all bytes."""
    store = open_store(address)
    for seed, size in enumerate([9 << 20, 300_000, 10, 0]):
        content = random.Random(seed).randbytes(size)
        ref = store.put("dataset", content)
        assert store.fetch(ref).read_bytes() == content
        assert store.fetch(ref).read_bytes() == content
    for number in range(4):
        store.write(f"runs/{number}", bytes([number]) * 5000)
    assert list(store.keys("runs")) == [f"runs/{number}" for number in range(4)]
    for number in range(4):
        assert store.read(f"runs/{number}") == bytes([number]) * 5000
        store.copy(f"runs/{number}", f"runs/copy-{number}")
        assert store.read(f"runs/copy-{number}") == bytes([number]) * 5000
        # If a response is lost, only the bytes tell that they are our own.
        new = store.create(f"runs/new-{number}", bytes([number]) * 50)
        assert new or store.read(f"runs/new-{number}") == bytes([number]) * 50
        assert not store.create(f"runs/new-{number}", b"another's")
        assert store.read(f"runs/new-{number}") == bytes([number]) * 50
        store.delete(f"runs/new-{number}")
        store.delete(f"runs/copy-{number}")
        store.delete(f"runs/{number}")
        with pytest.raises(Missing):
            store.read(f"runs/{number}")
    assert list(store.keys("runs")) == []


def test_a_fifth_of_the_requests_may_fail(bucket: str, relay: StartRelay) -> None:
    chance, failures = random.Random(20), dict[str, int]()

    def fault(name: str) -> Fault | None:
        # At most four failures of one request, so that no request can use up its retries by chance.
        if chance.random() >= 0.2 or failures.get(name, 0) == 4:
            return None
        failures[name] = failures.get(name, 0) + 1
        return FAULTS[sum(failures.values()) % len(FAULTS)]

    watch = relay(fault)
    use_everything(f"s3://{bucket}/x")
    assert sum(failures.values()) > 0.1 * len(watch.requests)


@pytest.mark.parametrize("kind", FAULTS, ids=str)
def test_every_request_may_fail_once(
    bucket: str, relay: StartRelay, no_backoff: None, kind: Fault
) -> None:
    seen: dict[str, int] = {}

    def fault(name: str) -> Fault | None:
        seen[name] = seen.get(name, 0) + 1
        return kind if seen[name] % 2 else None

    relay(fault)
    use_everything(f"s3://{bucket}/x")


def test_put_survives_a_lost_response_to_complete(bucket: str, relay: StartRelay) -> None:
    asked: list[str] = []

    def fault(name: str) -> Fault | None:
        if not (name.startswith("POST") and "uploadId=" in name):
            return None
        asked.append(name)
        # moto accepts a second "complete"; to MinIO the upload no longer exists.
        return "truncate" if len(asked) == 1 else (404, "NoSuchUpload")

    relay(fault)
    content = random.Random(2).randbytes(9 << 20)
    store = open_store(f"s3://{bucket}")
    assert store.fetch(store.put("model", content)).read_bytes() == content
    assert len(asked) == 2


@pytest.mark.parametrize(
    "status_and_code", [(503, "SlowDown"), (500, "InternalError"), (429, "TooManyRequests")]
)
def test_transient_errors_are_unavailable(
    bucket: str, relay: StartRelay, no_backoff: None, status_and_code: tuple[int, str]
) -> None:
    watch = relay(lambda name: status_and_code)
    with pytest.raises(
        Unavailable, match=rf"s3://{bucket} at {watch.url}.+try again later"
    ) as raised:
        open_store(f"s3://{bucket}").read("x")
    line(raised.value)


def test_wrong_endpoint_is_named(
    s3_settings: None, no_backoff: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://me:hush-hush-secret@127.0.0.1:{port}")
        with pytest.raises(
            Unavailable, match=rf"http://127.0.0.1:{port} can't be reached.+AWS_ENDPOINT_URL_S3"
        ) as raised:
            open_store("s3://some-bucket/x").put("model", b"x")
    line(raised.value)


REFUSALS = [
    (403, "InvalidAccessKeyId", "access key is not known"),
    (403, "SignatureDoesNotMatch", "secret key is not the access key's"),
    (403, "RequestTimeTooSkewed", "clock is wrong"),
    (400, "ExpiredToken", "sign in again"),
    (403, "AccessDenied", "may not do this; grant"),
    (403, "Strange", "access is denied"),
    (400, "AuthorizationHeaderMalformed", "AWS_DEFAULT_REGION"),
    (404, "Elsewhere", "does not answer as an S3 service"),
    (400, "Puzzled", "refuses the request"),
]


@pytest.mark.parametrize(("status", "code", "words"), REFUSALS)
def test_refusal_says_how_to_mend_it(
    bucket: str, relay: StartRelay, status: int, code: str, words: str
) -> None:
    store = open_store(f"s3://{bucket}/x")
    ref = store.put("model", b"x")
    relay(lambda name: (status, code))
    uses: list[Callable[[], object]] = [
        lambda: store.read("x"),
        lambda: store.write("x", b""),
        lambda: store.fetch(ref),
        lambda: store.put("model", b"y"),
        lambda: store.copy(ref.uri, "runs/a"),
        lambda: store.delete("x"),
        lambda: list(store.keys("runs")),
    ]
    for use in uses:
        with pytest.raises(StoreError, match=f"s3://{bucket}/x at .+{words}.+{code}") as raised:
            use()
        assert not isinstance(raised.value, Unavailable | Missing | Damaged)
        line(raised.value)


def test_missing_bucket_is_not_missing_blob(bucket: str) -> None:
    ref = open_store(f"s3://{bucket}").put("model", b"x")
    store = open_store("s3://no-such-bucket/x")
    uses: list[Callable[[], object]] = [
        lambda: store.fetch(ref),
        lambda: store.put("model", b"x"),
        lambda: store.copy(ref.uri, "x"),
        lambda: store.read("x"),
        lambda: store.write("x", b""),
        lambda: list(store.keys("runs")),
    ]
    for use in uses:
        with pytest.raises(
            StoreError, match=r"s3://no-such-bucket/x at .+ no such bucket; create it"
        ) as raised:
            use()
        assert not isinstance(raised.value, Missing)


def test_wrong_credentials_at_a_server_that_checks_them(bucket: str, s3_url: str) -> None:
    def refuse_after(requests: str) -> None:
        plain = {"Content-Type": "text/plain"}
        urlopen(
            Request(f"{s3_url}/moto-api/reset-auth", requests.encode(), plain, method="POST")
        ).close()

    ref = open_store(f"s3://{bucket}").put("model", b"x")
    refuse_after("0")
    try:
        with pytest.raises(StoreError, match=r"access key is not known.+AWS_PROFILE") as raised:
            open_store(f"s3://{bucket}").fetch(ref)
    finally:
        refuse_after("inf")
    line(raised.value)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
            "there are no credentials; set AWS_PROFILE",
        ),
        ({"AWS_SECRET_ACCESS_KEY": ""}, "credentials are incomplete"),
        ({"AWS_PROFILE": "nobody"}, "no such profile; correct AWS_PROFILE"),
        ({"AWS_ACCESS_KEY_ID": "AKIATESTING\n"}, "line break"),
        ({"AWS_ENDPOINT_URL_S3": "localhost"}, "AWS_ENDPOINT_URL_S3 is no URL"),
        ({"AWS_ENDPOINT_URL_S3": "http://host:port"}, "AWS_ENDPOINT_URL_S3 is no URL"),
        ({"AWS_DEFAULT_REGION": "no where"}, "check AWS's settings"),
    ],
    ids=str,
)
def test_invalid_settings_are_named(
    bucket: str,
    no_backoff: None,
    monkeypatch: pytest.MonkeyPatch,
    setting: dict[str, str],
    words: str,
) -> None:
    for name, value in setting.items():
        if value:
            monkeypatch.setenv(name, value)
        else:
            monkeypatch.delenv(name)
    with pytest.raises(StoreError, match=words) as raised:
        open_store(f"s3://{bucket}").read("x")
    assert not isinstance(raised.value, Unavailable)
    line(raised.value)


@pytest.mark.parametrize(
    "address",
    [
        "s3://", "s3:///x", "s3://ab", "s3://Bucket", "s3://a_b_c", "s3://-bucket", "s3://1.2.3.4/x",
        "s3://buck..et", "s3://bücket", "s3://bucket\n", "s3://bucket/../x", "s3://bucket//x",
        "s3://bucket/x?y", "s3://bucket/x\n", "s3://AKIATESTING:hush-hush-secret@bucket/x",
    ],
)  # fmt: skip
def test_open_store_refuses_malformed_addresses(address: str) -> None:
    with pytest.raises(StoreError, match="expected") as raised:
        open_store(address)
    line(raised.value)
