"""A prepared data set: an index of labels, names and splits, and shards of images that it names.

Its order is that of the index, which says for each image where it is: shards may hold them in any order.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from pydantic import Field

from tasks.vision.data.images import Images
from tasks.vision.data.layouts.split_names import SPLITS
from tasks.vision.data.pieces.pieces import PieceFile
from tasks.vision.data.shards.arrays import map_arrays
from tasks.vision.data.shards.shard_files import Room
from tasks.vision.data.shards.shards import MAX_SHARD_HEADER, Shard
from tasks.vision.data.shards.stored_images import StoredImages
from tasks.vision.errors import BadInput
from tasks.vision.files.left_out import LeftOut
from tasks.vision.pictures.fit import CROP, Fit
from tasks.vision.recipe.schema import Strict

T = TypeVar("T")

MAX_LISTED = 200  # names in each list of a description


class Listed(Strict, Generic[T]):
    """How many there are, and the first of them."""

    count: int = 0
    first: tuple[T, ...] = ()

    @classmethod
    def of(cls, found: list[T]) -> Listed[T]:
        """Count all and list some, since a header that grows with the data could not be read again."""
        return cls(count=len(found), first=tuple(found[:MAX_LISTED]))


class MadeSplits(Strict):
    """How splits were made that the data did not have: by the content of each picture.

    Attributes:
        test, validation: the share asked for; None if the data has its own.
        groups: how many groups of pictures are in one split each. alike: how many pictures have a near
            duplicate, with which they are in one split.
    """

    test: float | None
    validation: float | None
    groups: int = 0
    alike: int = 0


class Description(Strict):
    """A data set's metadata.

    Attributes:
        duplicates: images in both train and test, by their names in each.
        contradictions: images of the same pixels with different labels, in train and test.
        unreadable: a line for each image that can't be decoded. left_out: files that are not read.
        odd: a line for each image that was decoded and may not be what was meant.
        bits: how many bits 16-bit samples use, unless their file says it.
        validation: the folder or table with the validation images; "" if they are a share of those in train.
        fit: how pictures became squares.
        made: how splits were made by content; None if test is the data's own, and validation its own or drawn
            from the rows of train.
        shards: files of the images, in no order that counts. pieces: a file for each with what is known of its
            images, if pictures were decoded.
        window: number of training images that an epoch shuffles at a time; 0 for all.
        images: SHA-256, in hex, of the images of train and test in their order, the same for every fold.
    """

    image_size: int
    classes: list[str]
    counts: dict[str, list[int]]
    duplicates: Listed[tuple[str, str]] = Listed()
    contradictions: Listed[tuple[str, str]] = Listed()
    unreadable: Listed[str] = Listed()
    left_out: tuple[LeftOut, ...] = ()
    odd: Listed[str] = Listed()
    bits: int = 16
    validation: str = ""
    # Left out where it was always so, since a data set's digest covers its description.
    fit: Fit = Field(CROP, exclude_if=lambda fit: fit == CROP)
    made: MadeSplits | None = Field(None, exclude_if=lambda made: made is None)
    shards: tuple[Shard, ...] = ()
    pieces: tuple[PieceFile, ...] = ()
    window: int = 0
    images: str = ""


@dataclass(frozen=True)
class Part:
    """One split: images (n, size, size, 3) uint8, labels (n,) int32 into the classes."""

    images: np.ndarray
    labels: np.ndarray


class Dataset:
    """A prepared data set; images are read from their files on access.

    Args:
        images: of "train", those of validation included, and of "test".
    """

    def __init__(
        self, description: Description, arrays: dict[str, np.ndarray], images: dict[str, Images]
    ) -> None:
        self.description, self._arrays, self._images = description, arrays, images

    @property
    def classes(self) -> list[str]:
        """The data's own classes, in the order of its labels."""
        return self.description.classes

    def part(self, split: str) -> Part:
        """The images and labels of "train", "validation" or "test", read into memory."""
        where, rows = self._rows(split)
        return Part(np.asarray(self._images[where][rows]), self.labels(split))

    def stored_images(self, where: str) -> Images:
        """All images of "train", those of validation included, or of "test"; read on access, in pieces."""
        return self._images[where]

    def stored_labels(self, where: str) -> np.ndarray:
        """The labels of those images."""
        return self._arrays[f"{where}_labels"]

    def rows(self, split: str) -> np.ndarray:
        """Rows of a split's images among the stored ones of "train" or "test": (n,) int64."""
        where, rows = self._rows(split)
        return np.arange(len(self._arrays[f"{where}_labels"]))[rows]

    def labels(self, split: str) -> np.ndarray:
        """The labels alone, without a copy of the images."""
        where, rows = self._rows(split)
        return self._arrays[f"{where}_labels"][rows]

    def _rows(self, split: str) -> tuple[str, slice | np.ndarray]:
        """The stored split that contains this one, and the rows of it that belong to this one."""
        if split == "test":
            return "test", slice(None)
        held_back = self._arrays["validation"]
        if split == "validation":
            return "train", held_back
        return "train", np.delete(np.arange(len(self._arrays["train_labels"])), held_back)

    def names(self, split: str) -> list[str]:
        """The file names of a split's images ("train" here includes validation)."""
        return json.loads(self._arrays[f"{split}_names"].tobytes())


def open_dataset(path: Path, locate: Callable[[Shard], Path], room: Room | None = None) -> Dataset:
    """Open a data set by its index, a file that `prepare` wrote.

    Args:
        locate: returns the path of a shard's file; called when an image of it is read, or before.
        room: for such files; None for any number.

    Raises:
        BadInput: the file is not the index of a prepared data set.
    """
    try:
        note, arrays = map_arrays(path)
        description = Description.model_validate_json(note)
        if not _is_consistent(description, arrays):
            raise ValueError("its parts don't fit each other")
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadInput(f"{path} is not a prepared data set; prepare it again") from None
    shards, size, window = description.shards, description.image_size, description.window
    images: dict[str, Images] = {
        split: StoredImages.of(shards, size, locate, arrays[f"{split}_rows"], window, room)
        for split in SPLITS
    }
    return Dataset(description, arrays, images)


def _is_consistent(about: Description, arrays: dict[str, np.ndarray]) -> bool:
    """Check lengths, sizes, dtypes and ranges, since a store's bytes can't be trusted."""
    each, held_back = about.image_size**2 * 3, arrays["validation"]
    sized = all(0 <= shard.size - shard.count * each <= MAX_SHARD_HEADER for shard in about.shards)
    if not sized or len(about.pieces) not in (0, len(about.shards)):
        return False
    count = sum(shard.count for shard in about.shards)
    for split in SPLITS:
        labels, rows = arrays[f"{split}_labels"], arrays[f"{split}_rows"]
        known = labels.dtype == np.int32 and labels.ndim == 1 and _below(labels, len(about.classes))
        stored = rows.dtype == np.int64 and rows.shape == labels.shape and _below(rows, count)
        if not (known and stored and arrays[f"{split}_names"].dtype == np.uint8):
            return False
    whole = held_back.dtype == np.int64 and held_back.ndim == 1
    return whole and _below(held_back, len(arrays["train_labels"]))


def _below(values: np.ndarray, limit: int) -> bool:
    return not len(values) or (values.min() >= 0 and values.max() < limit)
