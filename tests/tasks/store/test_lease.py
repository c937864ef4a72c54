"""Claims are exclusive, in a local folder and on S3, and expire when their holder dies."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.buckets import StartRelay

from tasks.store import lease as leases
from tasks.store.base import Store
from tasks.store.opening import open_store
from tasks.store.s3.lease_document import S3LeaseDocument


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats every 0.1 s, a timeout of 5 s."""
    monkeypatch.setattr(leases, "HEARTBEAT", 0.1)
    monkeypatch.setattr(leases, "LEASE_TIMEOUT", 5.0)
    monkeypatch.setattr(leases, "POLL", 0.05)


class Work:
    """Work under a claim; `most` is the largest number at once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.inside = self.most = self.waited = 0
        self.guard = threading.Lock()

    def do(self, seconds: float) -> None:
        with self.store.claim("some-work", self.wait):
            with self.guard:
                self.inside += 1
                self.most = max(self.most, self.inside)
            time.sleep(seconds)
            with self.guard:
                self.inside -= 1

    def wait(self) -> None:
        with self.guard:
            self.waited += 1


def test_claim_is_held_by_one_at_a_time(store: Store) -> None:
    work = Work(store)
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(work.do, [0.3] * 5))
    assert work.most == 1
    assert work.waited >= 1
    with store.claim("some-work", pytest.fail):
        pass


def test_claim_of_another_key_does_not_wait(store: Store) -> None:
    with store.claim("some-work", pytest.fail), store.claim("other-work", pytest.fail):
        pass


def test_claim_of_a_live_holder_does_not_expire(store: Store) -> None:
    work = Work(store)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work.do, [10.0, 0]))  # longer than the patience for a dead one
    assert work.most == 1


def test_claim_is_released_when_the_work_fails(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.claim("some-work", pytest.fail):
        raise ZeroDivisionError
    with store.claim("some-work", pytest.fail):
        pass


def test_a_dead_holder_in_a_bucket_is_replaced(bucket: str) -> None:
    store = open_store(f"s3://{bucket}/x")
    store.write("locks/some-work", b"a holder that was killed")
    waited = []
    clock = time.monotonic()
    with store.claim("some-work", lambda: waited.append(1)):
        assert time.monotonic() - clock > leases.LEASE_TIMEOUT
    assert waited == [1]
    assert list(store.keys("locks")) == []


def test_lease_of_a_dead_holder_goes_to_one_waiter(bucket: str) -> None:
    store = open_store(f"s3://{bucket}/x")
    store.write("locks/some-work", b"a holder that was killed")
    work = Work(store)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work.do, [0.3] * 4))
    assert work.most == 1
    assert work.waited >= 1


def test_a_claim_takes_two_requests_and_one_for_each_heartbeat(
    bucket: str, relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = relay()
    store = open_store(f"s3://{bucket}/x")
    with store.claim("some-work", pytest.fail):
        time.sleep(1)
    methods = [name.split()[0] for name in watch.requests]
    assert methods[0] == "PUT"
    assert methods[-1] == "DELETE"
    assert set(methods[1:-1]) == {"PUT"}


def test_a_lease_that_another_process_took_over_is_left_to_it(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This process was paused for longer than others wait."""
    monkeypatch.setattr(leases, "LEASE_TIMEOUT", 0.2)
    store = open_store(f"s3://{bucket}/x")
    for heartbeat in (60.0, 0.3):
        monkeypatch.setattr(leases, "HEARTBEAT", heartbeat)
        with store.claim("some-work", pytest.fail):
            store.write("locks/some-work", b"another holder")
            time.sleep(0.6)
        assert store.read("locks/some-work") == b"another holder"
        store.delete("locks/some-work")


@pytest.mark.parametrize("lost", ["create", "replace"])
def test_a_lease_survives_lost_responses_to_its_writes(
    bucket: str, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    write = getattr(S3LeaseDocument, lost)

    def without_response(document: S3LeaseDocument, *args: object) -> None:
        write(document, *args)

    monkeypatch.setattr(S3LeaseDocument, lost, without_response)
    store = open_store(f"s3://{bucket}/x")
    with store.claim("some-work", pytest.fail):
        beats = set()
        for _ in range(4):
            time.sleep(0.5)
            beats.add(store.read("locks/some-work"))
        assert len(beats) == 4, "its heart beats on"
    assert list(store.keys("locks")) == []


@pytest.mark.parametrize("answer", [(501, "NotImplemented"), (400, "InvalidArgument")])
def test_claim_without_conditional_writes_lets_everyone_in(
    bucket: str, relay: StartRelay, answer: tuple[int, str]
) -> None:
    relay(lambda name: answer if name.startswith("PUT") and "/locks/" in name else None)
    store = open_store(f"s3://{bucket}/x")
    with store.claim("some-work", pytest.fail), store.claim("some-work", pytest.fail):
        pass
