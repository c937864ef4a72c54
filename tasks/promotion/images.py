"""Images to compare two models on: the test split of a data set in the store, or of any source."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from tasks.io.locations import find_data
from tasks.vision.data.batches.targets import images_of
from tasks.vision.data.dataset import Dataset, Description
from tasks.vision.data.images import Images
from tasks.vision.data.labelled import ImageSet
from tasks.vision.data.sources import read_source
from tasks.vision.errors import BadInput
from tasks.vision.pictures.fit import Fit
from tasks.vision.trained_model import Card


class TestSplit(Protocol):
    """Labelled images that models answer.

    Attributes:
        name: for people. classes: their own. labels: (n,) class indices.
    """

    @property
    def name(self) -> str: ...
    @property
    def classes(self) -> list[str]: ...
    @property
    def labels(self) -> np.ndarray: ...

    def for_model(self, card: Card, rows: np.ndarray) -> Images:
        """Images in these rows as a model takes them. Raises BadInput if they can't be made so."""

    def prepared_as(self, other: Description) -> Images:
        """All images with the pixels that they have in another data set. Raises BadInput as above."""


@dataclass(frozen=True)
class StoredTestSplit:
    """The test split of a prepared data set, whose images have the size that they were prepared with."""

    name: str
    data: Dataset

    @property
    def classes(self) -> list[str]:
        return self.data.classes

    @property
    def labels(self) -> np.ndarray:
        return self.data.labels("test")

    def for_model(self, card: Card, rows: np.ndarray) -> Images:
        size = card.architecture.image_size
        self._check(size <= self.data.description.image_size, size, card.fit, card.bits)
        return images_of(self.data, "test", rows, size)

    def prepared_as(self, other: Description) -> Images:
        size = other.image_size
        self._check(size == self.data.description.image_size, size, other.fit, other.bits)
        return self.data.stored_images("test")

    def _check(self, sized: bool, size: int, fit: Fit, bits: int) -> None:
        mine = self.data.description
        if not (sized and (fit, bits) == (mine.fit, mine.bits)):
            raise BadInput(
                f"{self.name} was prepared as {mine.image_size} pixels, {mine.fit!r}, the other model's "
                f"images as {size} pixels, {fit!r}: give test images of both by --data SOURCE"
            )


@dataclass(frozen=True)
class SourceTestSplit:
    """The test split of a source, or what `evaluate` takes in its place; read once for each image size."""

    name: str
    first: ImageSet
    read: dict[tuple[int, int, Fit], ImageSet] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, given: str, card: Card) -> SourceTestSplit:
        """Read the images as this model takes them.

        Raises:
            BadInput: it is no source, or none of it can be read.
        """
        how = card.architecture.image_size, card.bits, card.fit
        found = _read(given, *how)
        return cls(given, found, {how: found})

    @property
    def classes(self) -> list[str]:
        return self.first.classes

    @property
    def labels(self) -> np.ndarray:
        return self.first.splits["test"].labels

    def for_model(self, card: Card, rows: np.ndarray) -> Images:
        found = self._read(card.architecture.image_size, card.bits, card.fit)
        return np.asarray(found.splits["test"].images[rows])

    def prepared_as(self, other: Description) -> Images:
        found = self._read(other.image_size, other.bits, other.fit)
        return found.splits["test"].images

    def _read(self, size: int, bits: int, fit: Fit) -> ImageSet:
        if (size, bits, fit) not in self.read:
            self.read[size, bits, fit] = _read(self.name, size, bits, fit)
        return self.read[size, bits, fit]


def _read(given: str, size: int, bits: int, fit: Fit) -> ImageSet:
    return read_source(
        find_data(given, ("test",), instead=True),
        size,
        splits=("test",),
        max_unreadable=None,
        bits=bits,
        fit=fit,
        instead=True,
    )
