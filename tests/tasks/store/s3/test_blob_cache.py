"""Local copies of a bucket's blobs: downloaded once, hashed at every use, removed when idle."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from support.buckets import StartRelay, line

from tasks.store.base import Damaged, Missing, StoreError
from tasks.store.opening import open_store
from tasks.store.s3.blob_cache import cache_folder, release


def test_fetch_downloads_a_blob_once(bucket: str, relay: StartRelay) -> None:
    ref = open_store(f"s3://{bucket}/x").put("dataset", b"pixels" * 1000)
    watch = relay()
    for _ in range(3):
        assert open_store(f"s3://{bucket}/x").fetch(ref).read_bytes() == b"pixels" * 1000
    assert (watch.count("HEAD"), watch.count("GET")) == (2, 1)
    assert [path.name for path in cache_folder().iterdir()] == [ref.sha256]


def test_open_blob_asks_only_for_what_is_not_on_this_machine(
    bucket: str, relay: StartRelay
) -> None:
    store = open_store(f"s3://{bucket}/x")
    ref = store.put("dataset", b"pixels")
    watch = relay()
    for _ in range(3):
        assert store.open_blob(ref).read_bytes() == b"pixels"
    assert len(watch.requests) == 1
    store.open_blob(ref).write_bytes(b"pixelz")
    assert store.open_blob(ref).read_bytes() == b"pixels"
    store.delete(ref.uri)
    assert store.open_blob(ref).read_bytes() == b"pixels"
    store.open_blob(ref).unlink()
    with pytest.raises(Missing):
        store.open_blob(ref)


def test_a_blob_larger_than_its_ref_is_damaged_and_not_downloaded(
    bucket: str, relay: StartRelay
) -> None:
    store = open_store(f"s3://{bucket}/x")
    small, large = (store.put("dataset", bytes(size)) for size in (6, 9 << 20))
    for ref in (small, large):
        store.write(ref.uri, bytes(10 << 20))
        with pytest.raises(Damaged, match=f"{ref.uri} in the store .+ is damaged"):
            store.fetch(ref)
    assert list(cache_folder().iterdir()) == []


def test_fetch_replaces_a_damaged_copy(bucket: str) -> None:
    store = open_store(f"s3://{bucket}/x")
    ref = store.put("dataset", b"pixels")
    for damage in (b"pixelz", b"", b"more pixels"):
        store.fetch(ref).write_bytes(damage)
        assert store.fetch(ref).read_bytes() == b"pixels"
    assert len(list(cache_folder().iterdir())) == 1


def test_fetch_from_the_cache_still_asks_the_store(bucket: str) -> None:
    store = open_store(f"s3://{bucket}/x")
    ref = store.put("dataset", b"pixels")
    store.fetch(ref)
    store.write(ref.uri, b"cut")
    with pytest.raises(Damaged):
        store.fetch(ref)
    store.delete(ref.uri)
    with pytest.raises(Missing):
        store.fetch(ref)


def test_cache_has_no_copy_of_a_damaged_blob(bucket: str) -> None:
    store = open_store(f"s3://{bucket}/x")
    ref = store.put("dataset", b"pixels")
    store.write(ref.uri, b"pixelz")
    with pytest.raises(Damaged):
        store.fetch(ref)
    assert list(cache_folder().iterdir()) == []


def test_cache_folder_follows_the_environment(
    s3_settings: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache_folder() == tmp_path / "blobs"
    monkeypatch.delenv("RELEVO_BLOB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg/relevo/blobs"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache/relevo/blobs"


def test_cache_removes_idle_copies(bucket: str) -> None:
    store = open_store(f"s3://{bucket}/x")
    used, unused, new = (store.put("dataset", content) for content in (b"used", b"unused", b"new"))
    paths = [store.fetch(used), store.fetch(unused)]
    paths += [cache_folder() / name for name in (f".partial-{'0' * 32}", "somebody's notes")]
    for path in paths:
        path.touch()
        os.utime(path, (0, 0))
    store.fetch(used)
    store.fetch(new)
    names = {used.sha256, new.sha256, "somebody's notes"}
    assert {path.name for path in cache_folder().iterdir()} == names


def test_unusable_cache_folder_is_one_line(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = open_store(f"s3://{bucket}").put("dataset", b"pixels")
    monkeypatch.setenv("RELEVO_BLOB_CACHE", __file__)
    with pytest.raises(
        StoreError, match=r"cache folder .+ can't be used \(.+\).+RELEVO_BLOB_CACHE"
    ) as raised:
        open_store(f"s3://{bucket}").fetch(ref)
    line(raised.value)


def test_fetch_downloads_again_what_was_damaged_on_the_way(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tasks.store.s3.blob_cache as module

    store = open_store(f"s3://{bucket}")
    ref = store.put("model", b"pixels")
    looks: list[Path] = []

    def hash_of(path: Path) -> tuple[str, int]:
        looks.append(path)
        return ("0" * 64, 6) if len(looks) == 1 else (ref.sha256, ref.size)

    monkeypatch.setattr(module, "sha256_of", hash_of)
    assert store.fetch(ref).read_bytes() == b"pixels"
    assert len(looks) == 2


def test_copies_beyond_the_bound_are_removed_those_not_used_for_longest_first(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELEVO_BLOB_CACHE_GB", "3e-6")  # 3,000 bytes
    store = open_store(f"s3://{bucket}/x")
    refs = [store.put("shard", bytes([i]) * 1000) for i in range(5)]
    now = time.time()
    for age, ref in enumerate(refs[:3]):
        os.utime(store.open_blob(ref), (now - 100, now - 100 - age))
    store.open_blob(refs[2])
    os.utime(cache_folder() / refs[2].sha256, (now - 90, now - 90))
    store.open_blob(refs[3])
    there = {path.name for path in cache_folder().iterdir()}
    assert there == {refs[i].sha256 for i in (0, 2, 3)}
    store.open_blob(refs[4])
    there = {path.name for path in cache_folder().iterdir()}
    assert there == {refs[i].sha256 for i in (2, 3, 4)}


def test_copies_that_are_released_go_first_and_before_another_is_fetched(
    bucket: str, relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELEVO_BLOB_CACHE_GB", "3e-6")  # 3,000 bytes
    store = open_store(f"s3://{bucket}/x")
    refs = [store.put("shard", bytes([i]) * 1000) for i in range(5)]
    most = 0

    def look(request: str) -> None:
        nonlocal most
        most = max(most, 1000 + sum(path.stat().st_size for path in cache_folder().glob("*")))

    relay(look)
    for ref in refs[:3]:
        store.open_blob(ref)
    release(refs[1])
    store.open_blob(refs[3])
    there = {path.name for path in cache_folder().iterdir()}
    assert there == {refs[i].sha256 for i in (0, 2, 3)}
    release(refs[0])
    store.open_blob(refs[0])
    release(refs[2])
    store.open_blob(refs[4])
    there = {path.name for path in cache_folder().iterdir()}
    assert there == {refs[i].sha256 for i in (0, 3, 4)}
    assert most == 3000


def test_what_a_killed_download_left_goes_when_there_is_no_room(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELEVO_BLOB_CACHE_GB", "3e-6")  # 3,000 bytes
    store = open_store(f"s3://{bucket}/x")
    refs = [store.put("shard", bytes([i]) * 1000) for i in range(2)]
    cache_folder().mkdir()
    old, running = (cache_folder() / f".partial-{digit * 32}" for digit in "01")
    for path in (old, running):
        path.write_bytes(bytes(1500))
    os.utime(old, (time.time() - 4000,) * 2)
    store.open_blob(refs[0])
    assert not old.exists()
    store.open_blob(refs[1])
    assert running.exists()


@pytest.mark.parametrize("given", ["0", "-1", "much", "nan"])
def test_a_bound_that_is_no_size_is_one_line(
    bucket: str, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("RELEVO_BLOB_CACHE_GB", given)
    store = open_store(f"s3://{bucket}/x")
    ref = store.put("shard", b"pixels")
    with pytest.raises(StoreError, match=r"RELEVO_BLOB_CACHE_GB .+ expected a number") as raised:
        store.open_blob(ref)
    line(raised.value)
