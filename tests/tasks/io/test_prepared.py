"""Data sets in a folder and in a bucket: shards are fetched once, and damaged ones are found and replaced."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from support.buckets import Backend, StartRelay
from support.datasets import prepare_in_store

from tasks.io.prepared import check_dataset, load_dataset, shards_of
from tasks.store.base import Damaged, Missing, Ref, Store
from tasks.store.opening import open_store
from tasks.store.s3.blob_cache import cache_folder
from tasks.vision.data.batches.augment import windowed_order
from tasks.vision.data.shards import shards
from tasks.vision.data.shards.stored_images import StoredImages

SIZE, COUNT, EACH = 8, 60, 5


@pytest.fixture
def pixels(monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Images of which five fill a shard."""
    images = np.random.default_rng(0).integers(0, 256, (COUNT, SIZE, SIZE, 3), np.uint8)
    monkeypatch.setattr(shards, "SHARD_BYTES", EACH * images[0].nbytes)
    return images


def prepared(pixels: np.ndarray, store: Store, folder: Path) -> Ref:
    return prepare_in_store(pixels, np.arange(COUNT) % 2, store, folder)


def copies() -> int:
    """Bytes of the copies on this machine."""
    found = (path.stat().st_size for path in cache_folder().iterdir())
    return sum(found)


def test_an_epoch_fetches_each_shard_once_within_the_bound_of_the_cache(
    pixels: np.ndarray,
    bucket: str,
    relay: StartRelay,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = open_store(f"s3://{bucket}/x")
    ref = prepared(pixels, store, tmp_path)
    size = max(shard.size for shard in shards_of(load_dataset(ref, store)))
    index = copies()
    bound, most = index + 4 * size, 0

    def look(name: str) -> None:
        nonlocal most
        if "/shards/" in name:
            most = max(most, copies() + size)

    monkeypatch.setenv("RELEVO_BLOB_CACHE_GB", str(bound / 1e9))
    watch = relay(look)
    images = load_dataset(ref, store).stored_images("train")
    assert isinstance(images, StoredImages)
    for epoch in (1, 2):
        watch.requests.clear()
        order = windowed_order(0, epoch, images.shard_of(), 2 * EACH)
        with images.in_order(order):
            for start in range(0, COUNT, 7):
                chosen = order[start : start + 7]
                np.testing.assert_array_equal(images[chosen], pixels[chosen])
        fetched = Counter(re.findall(r"/shards/\w+", " ".join(watch.requests)))
        assert set(fetched.values()) == {1}
        # What the first epoch has left in the cache serves the second.
        assert (
            len(fetched) == COUNT // EACH if epoch == 1 else COUNT // EACH - 4 <= len(fetched) < 12
        )
    assert most <= bound + size  # two threads may fetch a shard each at the same time


def test_a_copy_that_is_damaged_is_fetched_again(
    pixels: np.ndarray, bucket: str, tmp_path: Path
) -> None:
    store = open_store(f"s3://{bucket}/x")
    ref = prepared(pixels, store, tmp_path)
    for shard in shards_of(check_dataset(ref, store)):
        copy = cache_folder() / shard.sha256
        content = bytearray(copy.read_bytes())
        content[-1] ^= 1
        copy.write_bytes(content)
    np.testing.assert_array_equal(load_dataset(ref, store).stored_images("train"), pixels)


@pytest.mark.parametrize("downloaded", [0, 1 << 20])
def test_a_damaged_shard_is_found_at_the_latest_when_it_is_read(
    pixels: np.ndarray,
    backend: Backend,
    downloaded: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next look at the data set finds it missing, so that a run prepares it again."""
    monkeypatch.setattr("tasks.io.prepared.MOST_DOWNLOADED", downloaded)
    store = backend.store
    ref = prepared(pixels, store, tmp_path)
    bad = shards_of(load_dataset(ref, store))[1]
    content = bytearray(store.open_blob(bad).read_bytes())
    if store.remote:
        (cache_folder() / bad.sha256).unlink()
    content[300] ^= 1
    backend.overwrite(bad.uri, bytes(content))
    if not store.remote or downloaded:
        with pytest.raises(Damaged):
            check_dataset(ref, store)
    else:
        check_dataset(ref, store)
    images = load_dataset(ref, store).stored_images("train")
    with pytest.raises(
        Damaged, match=r"is damaged, and was moved to damaged/.+ start the run again"
    ) as raised:
        np.asarray(images)
    assert "\n" not in str(raised.value)
    for _ in range(2):
        with pytest.raises(Missing):
            check_dataset(ref, store)
    with pytest.raises(Missing, match="start the run again"):
        images[EACH]
    assert prepared(pixels, store, tmp_path) == ref
    np.testing.assert_array_equal(check_dataset(ref, store).stored_images("train"), pixels)
