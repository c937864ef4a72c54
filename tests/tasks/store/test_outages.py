"""A server that is down for a while: commands report it at once, jobs wait for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from support.buckets import StartRelay
from support.relay import Fault

from tasks.cache.cache import Cache, Hit
from tasks.cache.records import Work
from tasks.io.checkpoints import Checkpoints
from tasks.store import lease as leases
from tasks.store.base import Unavailable
from tasks.store.opening import open_store
from tasks.store.outages import OUTAGE
from tasks.vision.training.state import Snapshot

Away = Callable[[float], None]


@pytest.fixture
def away(relay: StartRelay, no_backoff: None) -> Callable[[float], None]:
    """A function after which the server responds with errors for some seconds."""

    def begin(seconds: float) -> None:
        end = time.monotonic() + seconds

        def fault(name: str) -> Fault | None:
            return (500, "InternalError") if time.monotonic() < end else None

        relay(fault)

    return begin


def test_a_command_fails_at_once_and_a_job_waits(
    bucket: str, away: Away, caplog: pytest.LogCaptureFixture
) -> None:
    command, job = open_store(f"s3://{bucket}"), open_store(f"s3://{bucket}", retry_for=OUTAGE)
    ref = command.put("model", b"weights")
    command.write("runs/a", b"summary")
    away(600)  # longer than a job would wait
    with pytest.raises(Unavailable):
        command.read("runs/a")
    away(3.0)
    assert job.read("runs/a") == b"summary"
    assert [
        r.getMessage().count("waiting for it") for r in caplog.records if r.name == "relevo"
    ] == [1]
    for ask in (
        lambda: job.fetch(ref),
        lambda: job.put("model", b"others"),
        lambda: job.write("runs/b", b""),
        lambda: job.touch("runs/a"),
        lambda: job.copy(ref.uri, "runs/c"),
        lambda: list(job.keys("runs")),
        lambda: job.entry("runs/a"),
        lambda: job.delete("runs/a"),
    ):
        away(1.5)
        ask()
    away(60)
    with pytest.raises(Unavailable):
        open_store(f"s3://{bucket}", retry_for=2).read("runs/b")


def test_claim_waits_for_the_holder_and_the_server(
    bucket: str, away: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "POLL", 0.1)
    store = open_store(f"s3://{bucket}", retry_for=OUTAGE)
    order, begun = list[str](), threading.Event()

    def hold() -> None:
        with store.claim("work", pytest.fail):
            begun.set()
            time.sleep(4)
            order.append("first")

    holder = threading.Thread(target=hold)
    holder.start()
    begun.wait(20)
    with store.claim("work", lambda: away(2.0)):
        order.append("second")
    holder.join()
    assert order == ["first", "second"]


def test_claim_is_released_without_waiting_for_the_server(bucket: str, away: Away) -> None:
    store, begun = open_store(f"s3://{bucket}", retry_for=OUTAGE), time.monotonic()
    with store.claim("work", pytest.fail):
        away(600)
    assert time.monotonic() - begun < OUTAGE / 2


def test_a_record_out_of_reach_is_no_miss(bucket: str, away: Away) -> None:
    store = open_store(f"s3://{bucket}", retry_for=OUTAGE)
    ref, work = store.put("model", b"weights"), Work("train", {"seed": 1})
    Cache(store).record(work, ref)
    away(2.0)
    assert Cache(store).lookup(work) == Hit(ref)


def test_checkpoint_failure_does_not_stop_the_training(bucket: str, away: Away) -> None:
    store, begun = open_store(f"s3://{bucket}", retry_for=OUTAGE), time.monotonic()
    checkpoints = Checkpoints(store, "train-0")
    for epoch in (1, 2, 3):
        if epoch == 2:
            away(600)
        checkpoints.save(Snapshot({"weights": np.ones(3)}, {"phase": "all", "epoch": epoch}))
        checkpoints.wait()
        if epoch == 2:
            away(0)
    found = Checkpoints(store, "train-0").load()
    assert found
    assert found.values["epoch"] == 3
    assert time.monotonic() - begun < OUTAGE / 2, "the training waited for the server"
