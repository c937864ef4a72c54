"""One at a time: a claim on work, on a local folder and on S3, also when its holder dies."""

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
    """A beat of a tenth of a second, and five seconds' patience."""
    monkeypatch.setattr(leases, "HEARTBEAT", 0.1)
    monkeypatch.setattr(leases, "LEASE_TIMEOUT", 5.0)
    monkeypatch.setattr(leases, "POLL", 0.05)


class Work:
    """Something that only one may do at a time; notes whether that held."""

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


def test_five_at_once_take_turns(store: Store) -> None:
    work = Work(store)
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(work.do, [0.3] * 5))
    assert work.most == 1
    assert work.waited >= 1
    with store.claim("some-work", pytest.fail):
        pass


def test_other_work_does_not_wait(store: Store) -> None:
    with store.claim("some-work", pytest.fail), store.claim("other-work", pytest.fail):
        pass


def test_a_holder_that_lives_keeps_its_claim(store: Store) -> None:
    work = Work(store)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work.do, [10.0, 0]))  # longer than the patience for a dead one
    assert work.most == 1


def test_failing_work_gives_its_claim_back(store: Store) -> None:
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


def test_of_two_that_wait_for_a_dead_holder_one_goes_first(bucket: str) -> None:
    store = open_store(f"s3://{bucket}/x")
    store.write("locks/some-work", b"a holder that was killed")
    work = Work(store)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work.do, [0.3] * 4))
    assert work.most == 1
    assert work.waited >= 1


@pytest.mark.parametrize("answer", [(501, "NotImplemented"), (400, "InvalidArgument")])
def test_a_server_without_conditional_writes_lets_everyone_in(
    bucket: str, relay: StartRelay, answer: tuple[int, str]
) -> None:
    relay(lambda name: answer if name.startswith("PUT") and "/locks/" in name else None)
    store = open_store(f"s3://{bucket}/x")
    with store.claim("some-work", pytest.fail), store.claim("some-work", pytest.fail):
        pass


def test_a_claim_whose_answer_was_lost_is_ones_own(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first writing comes through, its answer does not, and asking again is refused."""
    store = open_store(f"s3://{bucket}/x")
    create = S3LeaseDocument.create

    def lost(self: S3LeaseDocument, content: bytes) -> bool:
        create(self, content)
        return False

    monkeypatch.setattr(S3LeaseDocument, "create", lost)
    with store.claim("some-work", pytest.fail):
        pass
