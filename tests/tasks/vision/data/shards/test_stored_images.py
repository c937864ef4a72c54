"""Images in shards: the same as in an array, read a few at a time, and shuffled within a window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.datasets import open_in_folder, prepare_in_folder, prepared_in_folder

from tasks.vision.data.batches import augment, targets
from tasks.vision.data.batches.augment import windowed_order
from tasks.vision.data.batches.smaller import smaller
from tasks.vision.data.dataset import Dataset, open_dataset
from tasks.vision.data.images import FileImages
from tasks.vision.data.labelled import ImageSet, Split
from tasks.vision.data.shards import shards
from tasks.vision.data.shards.stored_images import StoredImages
from tasks.vision.errors import BadInput

SIZE, COUNT = 8, 50


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (COUNT, SIZE, SIZE, 3), np.uint8)


def prepared(
    images: np.ndarray, folder: Path, monkeypatch: pytest.MonkeyPatch, window_gb: float = 2.0
) -> Dataset:
    """A data set whose shards hold seven images each."""
    monkeypatch.setattr(shards, "SHARD_BYTES", 7 * images[0].nbytes + 1)
    labels = (np.arange(COUNT) % 2).astype(np.int32)
    split = Split(images, labels, [str(row) for row in range(COUNT)])
    found = ImageSet(["a", "b"], {"train": split, "test": split}, [])
    prepare_in_folder(found, SIZE, 0.2, folder / "index", window_gb=window_gb)
    return open_in_folder(folder / "index")


def test_images_in_shards_are_those_of_an_array(
    images: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = prepared(images, tmp_path, monkeypatch)
    assert [shard.count for shard in data.description.shards] == ([7] * 7 + [1]) * 2
    stored = data.stored_images("train")
    assert isinstance(stored, StoredImages)
    assert (stored.shape, stored.nbytes, len(stored)) == (images.shape, images.nbytes, COUNT)
    np.testing.assert_array_equal(np.asarray(stored), images)
    np.testing.assert_array_equal(stored[3:40:5], images[3:40:5])
    np.testing.assert_array_equal(stored[20], images[20])
    rows = np.random.default_rng(1).integers(0, COUNT, 99)
    np.testing.assert_array_equal(stored[rows], images[rows])
    assert stored[rows[:0]].shape == (0, SIZE, SIZE, 3)
    some = stored.select(rows)
    np.testing.assert_array_equal(some[10:30], images[rows][10:30])
    few = smaller(some, 4)
    assert few.shape == (99, 4, 4, 3)
    np.testing.assert_array_equal(few[5:9], augment.resize(images[rows[5:9]], 4))


def test_small_images_of_much_data_are_read_as_they_are_needed(
    images: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a control: a million of them, made smaller, need not fit into memory, nor be in one window."""
    monkeypatch.setattr(targets, "IN_MEMORY", 0)
    window = 20.5 * images[0].nbytes
    data = prepared(images, tmp_path, monkeypatch, window / 1e9)
    fetched: list[str] = []

    def locate(shard: shards.Shard) -> Path:
        fetched.append(shard.file)
        return tmp_path / shard.file

    data = open_dataset(tmp_path / "index", locate)
    every = targets.apply_scheme(None, data.classes)
    train, validation, _ = targets.training_examples(data, every, max_size=4)
    some = train.subsample(9)
    assert fetched == []
    rows = data.rows("train")
    assert isinstance(train.inputs, FileImages)
    assert train.inputs.window == 20
    np.testing.assert_array_equal(train.inputs.shard_of(), rows // 7)
    np.testing.assert_array_equal(train.inputs[2:6], augment.resize(images[rows[2:6]], 4))
    spread = rows[augment.evenly_spaced(len(rows), 9)]
    np.testing.assert_array_equal(np.asarray(some.inputs), augment.resize(images[spread], 4))
    assert validation.inputs.shape == (len(data.rows("validation")), 4, 4, 3)


def test_a_shard_of_another_size_is_refused(
    images: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = prepared(images, tmp_path, monkeypatch)
    shard = tmp_path / data.description.shards[1].file
    shard.write_bytes(shard.read_bytes()[:-1])
    stored = data.stored_images("train")
    np.testing.assert_array_equal(stored[:7], images[:7])
    with pytest.raises(BadInput, match="prepare the data set again"):
        stored[7:9]


def test_an_epoch_within_a_window_needs_few_shards_at_a_time() -> None:
    shard_of = np.repeat(np.arange(20), 10)
    order = windowed_order(3, 1, shard_of, 45)
    assert sorted(order) == list(range(200))
    for start in range(0, 200, 40):
        assert len({*shard_of[order[start : start + 40]]}) == 4
    np.testing.assert_array_equal(order, windowed_order(3, 1, shard_of, 45))
    assert (order != windowed_order(3, 2, shard_of, 45)).any()
    assert (order != windowed_order(4, 1, shard_of, 45)).any()


def test_a_window_is_written_only_where_there_are_more_images(
    images: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = {}
    for window in (2.0, 0.5, 30 * images[0].nbytes / 1e9):
        folder = tmp_path / str(window)
        folder.mkdir()
        about = prepared(images, folder, monkeypatch, window).description
        digests[window] = (about.window, (folder / "index").read_bytes())
    whole, same, less = digests.values()
    assert whole == same
    assert (whole[0], less[0]) == (0, 30)


def test_how_images_are_stored_counts_only_where_an_epoch_shuffles_shards(
    images: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = (np.arange(COUNT) % 2).astype(np.int32)
    split = Split(images, labels, [str(row) for row in range(COUNT)])
    found = ImageSet(["a", "b"], {"train": split, "test": split}, [])
    digests: dict[float, set[str]] = {2.0: set(), 30 * images[0].nbytes / 1e9: set()}
    for per_shard in (7, 9):
        monkeypatch.setattr(shards, "SHARD_BYTES", per_shard * images[0].nbytes)
        for window, seen in digests.items():
            path = tmp_path / "index"
            seen.add(prepared_in_folder(found, SIZE, 0.2, path, window_gb=window).digest)
    assert [len(seen) for seen in digests.values()] == [1, 2]
