"""All images of a data set in one order: those of train, validation included, then those of test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.vision.data.dataset import Dataset
from tasks.vision.data.images import Images


@dataclass(frozen=True, eq=False)
class Whole:
    """The images, and what is known of each by its row.

    Attributes:
        images: (n, size, size, 3) uint8, read in pieces. labels: (n,) int32 into the classes.
        splits: (n,) of "train", "validation" or "test". names: of the files.
    """

    images: Images
    labels: np.ndarray
    splits: np.ndarray
    names: list[str]
    classes: list[str]

    @classmethod
    def of(cls, data: Dataset) -> Whole:
        """Return all images of a data set."""
        train, test = (data.stored_images(where) for where in ("train", "test"))
        splits = np.array(["train"] * len(train) + ["test"] * len(test), "U10")
        splits[data.rows("validation")] = "validation"
        return cls(
            JoinedImages(train, test),
            np.concatenate([data.stored_labels(where) for where in ("train", "test")]),
            splits,
            [name for where in ("train", "test") for name in data.names(where)],
            data.classes,
        )

    def __len__(self) -> int:
        return len(self.labels)

    def joined(self, stored: dict[str, np.ndarray]) -> np.ndarray:
        """Return what is stored for "train" and "test", such as features, in this order."""
        return np.concatenate([stored["train"], stored["test"]])


class JoinedImages:
    """The images of two splits, one after the other, read where they are indexed by a slice or by rows."""

    dtype: np.dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, first: Images, second: Images) -> None:
        self._parts = first, second

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    @property
    def shape(self) -> tuple[int, ...]:
        """As of an array."""
        return len(self), *self._parts[0].shape[1:]

    @property
    def nbytes(self) -> int:
        """Bytes of all images."""
        return sum(part.nbytes for part in self._parts)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self[:]

    def __getitem__(self, index: Any, /) -> Any:
        rows = np.arange(len(self))[index]
        first, second = self._parts
        of_second = rows >= len(first)
        if not of_second.any():
            return np.asarray(first[rows])
        if of_second.all():
            return np.asarray(second[rows - len(first)])
        out = np.empty((len(rows), *self.shape[1:]), np.uint8)
        out[~of_second] = first[rows[~of_second]]
        out[of_second] = second[rows[of_second] - len(first)]
        return out
