"""The requests that a cached task sends to a bucket: a hit takes two, and no lease."""

from __future__ import annotations

from datetime import timedelta

import pytest
from prefect import flow
from support.buckets import StartRelay

from tasks.cache import cache as module
from tasks.cache.cached_task import CacheOptions, Published, cached, cached_task
from tasks.cache.records import Work
from tasks.store.base import Store
from tasks.store.opening import open_store

WORK = Work("train", {"seed": 1})
COMPUTED = ["PUT locks", "GET cache", "PUT models", "PUT cache", "DELETE locks"]


@cached_task
def weigh(store: Store) -> Published:
    return Published(ref=store.put("model", b"weights"))


def test_a_hit_takes_two_requests_and_its_record_is_touched_twice_a_day(
    server: str, bucket: str, relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, watch = open_store(f"s3://{bucket}/x"), relay()
    noted: list[int] = []

    @flow
    def ask(*, locked: bool = False, refresh: bool = False) -> bool:
        options = CacheOptions(refresh=refresh, minutes=1, locked=locked)
        call = cached(
            *(weigh, WORK, store, "weigh", Published.of, options),
            on_cached=lambda: noted.append(1),
        )
        return call(store)[1]

    def requests() -> list[str]:
        names = [f"{name.split()[0]} {name.split()[1].split('/')[3]}" for name in watch.requests]
        watch.requests.clear()
        return names

    assert not ask(locked=True)
    assert requests() == COMPUTED
    assert ask()
    assert requests() == ["GET cache", "GET models"], "the first time on this machine"
    assert ask()
    assert requests() == ["GET cache", "HEAD models"]
    assert len(noted) == 1
    with monkeypatch.context() as patch:
        patch.setattr(module, "TOUCH_EVERY", timedelta(hours=-1))
        assert ask()
    assert requests() == ["GET cache", "HEAD models", "PUT cache"]
    assert ask(locked=True)
    assert requests() == ["PUT locks", "GET cache", "HEAD models", "DELETE locks"]
    assert len(noted) == 2
    assert not ask(refresh=True)
    assert requests() == [name for name in COMPUTED if name != "GET cache"]
    store.delete(f"cache/{WORK.key}.json")
    requests()
    assert not ask()
    assert requests() == ["GET cache", *COMPUTED]
