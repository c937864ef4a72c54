"""The command line on a store in a bucket: under all faults of the server, the same bits or one clear line."""

from __future__ import annotations

import os
import random
import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from support.buckets import FAULTS, StartRelay
from support.command import SMALL, Chain, Relevo
from support.relay import SECRETS, Fault, FaultOf

from tasks.store.marker import MARKER

pytestmark = pytest.mark.slow

IN_A_ROW = 4  # faults of one request; boto3 makes six attempts


def settings(server: str, store: str, **more: str) -> dict[str, str]:
    """The environment of a command: the fixtures' settings of boto3, a server and a store."""
    aws = {
        name: value
        for name, value in os.environ.items()
        if name.startswith("AWS_") or name == "RELEVO_BLOB_CACHE"
    }
    return {**aws, "PREFECT_API_URL": server, "RELEVO_STORE": store, **more}


def seeded(share: float, seed: int, kinds: list[Fault]) -> tuple[FaultOf, dict[Fault, int]]:
    """A function that picks a fault for a share of the requests, and the counts of faults by kind."""
    chance, row, lock = random.Random(seed), dict[str, int](), threading.Lock()
    struck: dict[Fault, int] = dict.fromkeys(kinds, 0)

    def fault(name: str) -> Fault | None:
        with lock:
            if chance.random() >= share or row.get(name, 0) == IN_A_ROW:
                row[name] = 0
                return None
            row[name] = row.get(name, 0) + 1
            kind = chance.choice(kinds)
            struck[kind] += 1
            return kind

    return fault, struck


def test_run_on_a_server_that_fails_a_fifth_of_requests_has_the_same_bits(
    relevo: Relevo, chain: Chain, server: str, bucket: str, relay: StartRelay
) -> None:
    """Status 500, SlowDown, resets and cuts in mid-body, stalls; when cached, too."""
    fault, struck = seeded(0.2, seed=5, kinds=[*FAULTS, "stall"])
    watch = relay(fault)
    words = ["run", "digits", "--json", "--stage", "transfer", *SMALL]
    words += ["--set=stages.transfer.controls=false"]
    env = settings(server, f"s3://{bucket}/x")
    first = relevo(*words, env=env)
    local = chain.first.json
    assert first.json["dataset"] == local["dataset"]
    for name in ("baseline", "transfer"):
        stage = first.json["stages"][name]
        assert stage["state"] == "trained"
        assert stage["model_digest"] == local["stages"][name]["model_digest"]
        assert stage["metrics"] == local["stages"][name]["metrics"]
    again = relevo(*words, env=env)
    assert {stage["state"] for stage in again.json["stages"].values()} == {"cached"}
    assert sum(struck.values()) > 0.1 * len(watch.requests)
    assert all(struck.values()), struck


@contextmanager
def checking_keys(url: str) -> Iterator[None]:
    """Have moto check credentials; by default, it accepts any."""

    def after(requests: str) -> None:
        plain = {"Content-Type": "text/plain"}
        urlopen(
            Request(f"{url}/moto-api/reset-auth", requests.encode(), plain, method="POST")
        ).close()

    after("0")
    try:
        yield
    finally:
        after("inf")


COMMANDS: list[list[str]] = [
    ["run", "digits"],
    ["plan", "digits"],
    ["runs"],
    ["show", "latest"],
    ["evaluate", "latest/baseline", "--data", "digits"],
    ["predict", "latest/baseline", "tests"],
    ["verify"],
    ["gc", "--dry-run"],
]
IN_WORDS = {
    "endpoint": "can't be reached",
    "credentials": "the access key is not known there; check AWS_PROFILE",
    "bucket": "there is no such bucket; create it or correct --store",
    "clock": "this machine's clock is wrong; set it",
}


@pytest.mark.parametrize("wrong", IN_WORDS)
def test_bucket_out_of_reach_is_one_line_and_status_2(
    wrong: str, relevo: Relevo, server: str, bucket: str, s3: Any, s3_url: str, relay: StartRelay
) -> None:
    store, more = f"s3://{bucket}/x", {}
    commands = COMMANDS
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        if wrong == "endpoint":
            more = {"AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{unused.getsockname()[1]}"}
            commands = COMMANDS[:3]  # each makes six attempts
        if wrong == "bucket":
            store = "s3://there-is-no-such-bucket/x"
        if wrong == "clock":
            watch = relay(lambda name: (403, "RequestTimeTooSkewed"))
            more = {"AWS_ENDPOINT_URL_S3": watch.url}
        env = settings(server, store, **more)
        checked = checking_keys(s3_url) if wrong == "credentials" else nullcontext()
        with checked, ThreadPoolExecutor(len(commands)) as pool:  # they mostly wait
            outcomes = list(pool.map(lambda words: relevo(*words, env=env), commands))
    for words, done in zip(commands, outcomes, strict=True):
        assert done.status == 2, (words, done.err)
        assert done.out == ""
        assert done.err.count("\n") == 1, done.err
        assert done.err.startswith("relevo: ")
        assert IN_WORDS[wrong] in done.err, (words, done.err)
        assert not any(secret in done.err for secret in SECRETS)
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket), "nothing half-written"


MOST = 69  # requests of the run below, beside checkpoints and leases, which follow a clock


def test_store_in_a_bucket_is_asked_once_and_leaves_no_folder_here(
    relevo: Relevo, server: str, bucket: str, relay: StartRelay, tmp_path: Path
) -> None:
    """A run leaves only the blob cache on this machine."""
    here, watch = tmp_path / "here", relay()
    here.mkdir()
    words = ["run", "digits", "--json", "--stage", "baseline", *SMALL]
    summary = relevo(*words, cwd=here, env=settings(server, f"s3://{bucket}/x")).json
    assert summary["report"] == f"s3://{bucket}/x/runs/{summary['run']}/report.html"
    assert list(here.iterdir()) == []
    sent = Counter(name.split()[0] + " " + name.split()[1] for name in watch.requests)
    assert not [name for name in sent if name.startswith("HEAD ")]
    twice = [name for name, times in sent.items() if times > 1 and name.startswith("GET ")]
    # The marker before anything starts and before the first write; the data set's record under its lease.
    known = (MARKER, "/cache/prepare-", "list-type=")
    assert [name for name in twice if not any(part in name for part in known)] == []
    steady = [name for name in watch.requests if not re.match("PUT .*/(locks|checkpoints)/", name)]
    assert len(steady) <= MOST
