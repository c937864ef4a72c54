"""Shards are opened ahead of their use, each once in a pass, and never more than there is room for."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from support.datasets import prepare_in_folder

from tasks.vision.data.batches.augment import resize, windowed_order
from tasks.vision.data.batches.smaller import smaller
from tasks.vision.data.dataset import open_dataset
from tasks.vision.data.images import pieces
from tasks.vision.data.labelled import ImageSet, Split
from tasks.vision.data.shards import shard_files, shards
from tasks.vision.data.shards.shard_files import Room
from tasks.vision.data.shards.shard_pass import AHEAD
from tasks.vision.data.shards.shards import Shard
from tasks.vision.data.shards.stored_images import StoredImages
from tasks.vision.errors import BadInput

SIZE, COUNT, EACH = 8, 100, 5


class Bucket:
    """Where shards are fetched from; notes which were, and how many bytes are held at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.fetched, self.held, self.most = folder, list[str](), dict[str, int](), 0
        self.before: Callable[[Shard], None] = lambda shard: None

    def locate(self, shard: Shard) -> Path:
        self.before(shard)
        self.fetched.append(shard.file)
        self.held[shard.file] = shard.size
        self.most = max(self.most, sum(self.held.values()))
        return self.folder / shard.file

    def release(self, shard: Shard) -> None:
        del self.held[shard.file]


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (COUNT, SIZE, SIZE, 3), np.uint8)


@pytest.fixture
def bucket(pixels: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """Twenty shards of five images."""
    monkeypatch.setattr(shards, "SHARD_BYTES", EACH * pixels[0].nbytes)
    labels = (np.arange(COUNT) % 2).astype(np.int32)
    split = Split(pixels, labels, [str(row) for row in range(COUNT)])
    found = ImageSet(["a", "b"], {"train": split, "test": split}, [])
    prepare_in_folder(found, SIZE, 0.2, tmp_path / "index")
    return Bucket(tmp_path)


def opened(bucket: Bucket, room: float | None = None) -> StoredImages:
    """The images, with room for so many shards."""
    index, size = bucket.folder / "index", 0
    about = open_dataset(index, bucket.locate).description
    size = max(shard.size for shard in about.shards)
    bound = None if room is None else Room(int(room * size), bucket.release)
    images = open_dataset(index, bucket.locate, bound).stored_images("train")
    assert isinstance(images, StoredImages)
    return images


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def has_fetched(bucket: Bucket, count: int) -> bool:
    return len(bucket.fetched) == count


def test_next_shards_are_fetched_while_one_is_read(bucket: Bucket, pixels: np.ndarray) -> None:
    images = opened(bucket)
    files = [shard.file for shard in images._files.shards]
    with images.in_order(np.arange(COUNT)):
        for read in (0, 1):
            wait_until(partial(has_fetched, bucket, read + AHEAD))
            time.sleep(0.05)
            assert bucket.fetched == files[: read + AHEAD], "no more than that"
            np.testing.assert_array_equal(images[read], pixels[read])
        np.testing.assert_array_equal(images[2:], pixels[2:])
    assert bucket.fetched == files


@pytest.mark.parametrize("room", [1, 4, 5.5, 8])
def test_an_epoch_fetches_each_shard_once_and_stays_within_the_room(
    bucket: Bucket, pixels: np.ndarray, room: float
) -> None:
    images = opened(bucket, room)
    window = EACH * min(4, int(room))
    for epoch in (1, 2):
        bucket.fetched.clear()
        order = windowed_order(0, epoch, images.shard_of(), window)
        with images.in_order(order):
            for start in range(0, COUNT, 7):
                chosen = order[start : start + 7]
                np.testing.assert_array_equal(images[chosen], pixels[chosen])
        assert sorted(bucket.fetched) == sorted(shard.file for shard in images._files.shards)
        assert bucket.held == {}
    assert bucket.most <= room * images._files.shards[0].size


def test_all_images_are_read_one_shard_after_the_other_whatever_their_order(
    bucket: Bucket, pixels: np.ndarray
) -> None:
    rows = np.random.default_rng(2).permutation(COUNT)[:80]
    images = opened(bucket, 1).select(rows)
    for small in (images, smaller(images, 4)):
        expected = pixels[rows] if small is images else resize(pixels[rows], 4)
        bucket.fetched.clear()
        np.testing.assert_array_equal(np.asarray(small), expected)
        seen = np.zeros(len(rows), bool)
        for chosen, part in pieces(small, 7):
            np.testing.assert_array_equal(part, expected[chosen])
            seen[chosen] = True
        assert seen.all()
        assert set(Counter(bucket.fetched).values()) == {2}, "once for each of both"
    assert bucket.most <= images._files.shards[0].size


def test_images_read_at_random_stay_within_the_room(bucket: Bucket, pixels: np.ndarray) -> None:
    images = opened(bucket, 3)
    for row in np.random.default_rng(1).integers(0, COUNT, 50):
        np.testing.assert_array_equal(images[row], pixels[row])
    assert bucket.most <= 4 * images._files.shards[0].size, "the one that is opened, and three"


def test_a_window_that_has_no_room_is_one_line(bucket: Bucket) -> None:
    images = opened(bucket, 3)
    order = np.random.default_rng(1).permutation(COUNT)
    with (
        pytest.raises(BadInput, match=r"RELEVO_BLOB_CACHE_GB .+ data.window_gb to") as raised,
        images.in_order(order),
    ):
        pass
    assert "\n" not in str(raised.value)
    assert bucket.fetched == []


def test_an_error_in_the_background_is_raised_where_the_shard_is_used(bucket: Bucket) -> None:
    images = opened(bucket)
    bad, threads = images._files.shards[2].file, list[str]()

    def fail(shard: Shard) -> None:
        if shard.file == bad:
            threads.append(threading.current_thread().name)
            raise BadInput("the shard has gone")

    bucket.before = fail
    with images.in_order(np.arange(COUNT)):
        images[0]
        wait_until(lambda: bool(threads))
        images[1 : 2 * EACH]
        with pytest.raises(BadInput, match="the shard has gone"):
            images[2 * EACH]
        assert threads == ["shards"], "what has failed is not tried twice"
        bucket.before = lambda shard: None
        images[2 * EACH]


def test_a_pass_that_is_interrupted_stops_fetching(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_files, "STOPPING", 0.2)
    images, hangs, ends = opened(bucket, 8), threading.Event(), threading.Event()

    def hang(shard: Shard) -> None:
        if threading.current_thread().name == "shards" and bucket.fetched:
            hangs.set()
            assert ends.wait(10)

    bucket.before = hang

    def read() -> None:
        with images.in_order(np.arange(COUNT)):
            images[0]
            assert hangs.wait(10)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read()
    ends.set()
    wait_until(lambda: "shards" not in {thread.name for thread in threading.enumerate()})
    assert len(bucket.fetched) == 2
    assert bucket.held == {}
    with images.in_order(np.arange(COUNT)):
        images[:]
