"""A sample of a data set's images, for controls that must cost little: a function of the data alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from tasks.vision.data.batches.augment import evenly_spaced
from tasks.vision.data.dataset import Dataset

# A few seconds of most networks' time, and enough for the paired test to tell 10 points from noise.
MOST = {"train": 160, "validation": 40, "test": 200}


@dataclass(frozen=True)
class Sample:
    """Sorted rows of images: among the stored ones of "train", validation included, and of "test"."""

    train: np.ndarray
    test: np.ndarray

    @property
    def digest(self) -> str:
        """SHA-256 of the rows, in hex."""
        rows = np.concatenate([[len(self.train)], self.train, self.test]).astype("<i8")
        return hashlib.sha256(rows.tobytes()).hexdigest()

    def taken_from(self, features: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the sample's features from those of all images; those of the sample stay as they are."""
        wanted = {"train": self.train, "test": self.test}
        return {
            split: features[split] if len(features[split]) == len(rows) else features[split][rows]
            for split, rows in wanted.items()
        }


def sample_of(data: Dataset, classes: list[list[str]]) -> Sample:
    """Choose at most `MOST` images of each split, evenly spaced among those of the given classes.

    Args:
        classes: groups of class names, one group for each target; images of other classes are left out.
    """
    named = {name for group in classes for name in group}
    known = np.array([name in named for name in data.classes])
    rows = {}
    for split, most in MOST.items():
        found = data.rows(split)[known[data.labels(split)]]
        rows[split] = found[evenly_spaced(len(found), most)]
    return Sample(np.sort(np.concatenate([rows["train"], rows["validation"]])), rows["test"])


def sampled(data: Dataset, sample: Sample) -> Dataset:
    """Return the data set of the sample's images, read into memory, without their files' names."""
    held_back = np.isin(sample.train, data.rows("validation"))
    arrays, images = {"validation": np.flatnonzero(held_back)}, {}
    for where, rows in (("train", sample.train), ("test", sample.test)):
        images[where] = np.asarray(data.stored_images(where)[rows])
        arrays[f"{where}_labels"] = data.stored_labels(where)[rows]
    return Dataset(data.description, arrays, {**images})
