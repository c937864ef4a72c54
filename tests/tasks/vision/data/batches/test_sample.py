"""A sample of a data set: evenly spaced, of known classes, and a function of the data alone."""

from __future__ import annotations

import numpy as np

from tasks.vision.data.batches.sample import MOST, sample_of, sampled
from tasks.vision.data.dataset import Dataset, Description
from tasks.vision.data.images import Images

NAMES = ["a", "b", "c"]


def dataset(train: int, test: int) -> Dataset:
    """Images whose every pixel is their row; each tenth of train is for validation."""
    arrays: dict[str, np.ndarray] = {"validation": np.arange(0, train, 10)}
    images: dict[str, Images] = {}
    for split, n in (("train", train), ("test", test)):
        rows = np.arange(n)
        images[split] = np.ones((n, 2, 2, 3), np.uint8) * rows[:, None, None, None] % 251
        arrays[f"{split}_labels"] = (rows % 3).astype(np.int32)
    return Dataset(Description(image_size=16, classes=NAMES, counts={}), arrays, images)


def test_sample_has_images_of_known_classes_of_every_split() -> None:
    data = dataset(3000, 900)
    sample = sample_of(data, [["a"], ["c"]])
    assert len(sample.train) == MOST["train"] + MOST["validation"]
    assert len(sample.test) == MOST["test"]
    small = sampled(data, sample)
    assert {split: len(small.labels(split)) for split in MOST} == MOST
    for where, rows in (("train", sample.train), ("test", sample.test)):
        assert (np.diff(rows) > 0).all()
        labels = small.stored_labels(where)
        assert set(labels) == {0, 2}
        np.testing.assert_array_equal(labels, rows % 3)
        np.testing.assert_array_equal(small.stored_images(where)[:, 0, 0, 0], rows % 251)
    assert set(sample.train[small.rows("validation")]) <= set(data.rows("validation"))


def test_sample_of_little_data_is_all_of_it() -> None:
    data = dataset(90, 30)
    sample = sample_of(data, [["a"], ["b", "c"]])
    np.testing.assert_array_equal(sample.train, np.arange(90))
    np.testing.assert_array_equal(sample.test, np.arange(30))


def test_features_of_all_images_are_cut_and_those_of_the_sample_stay() -> None:
    data = dataset(3000, 900)
    sample = sample_of(data, [["a"], ["b"]])
    everything = {"train": np.arange(3000.0)[:, None], "test": np.arange(900.0)[:, None]}
    cut = sample.taken_from(everything)
    np.testing.assert_array_equal(cut["train"][:, 0], sample.train)
    np.testing.assert_array_equal(cut["test"][:, 0], sample.test)
    for split, rows in sample.taken_from(cut).items():
        np.testing.assert_array_equal(rows, cut[split])
    assert sample.digest == sample_of(dataset(3000, 900), [["b"], ["a"]]).digest
    assert sample.digest != sample_of(data, [["a"], ["c"]]).digest
