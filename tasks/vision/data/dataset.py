"""A prepared data set as one memory-mapped safetensors file: images, labels, names and splits."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.vision.errors import BadInput
from tasks.vision.recipe.schema import Strict


class Description(Strict):
    """A data set's metadata."""

    image_size: int
    classes: list[str]
    counts: dict[str, list[int]]
    duplicates: list[tuple[str, str]]
    unreadable: list[str]


@dataclass(frozen=True)
class Part:
    """One split: images (n, size, size, 3) uint8, labels (n,) int32 into the classes."""

    images: np.ndarray
    labels: np.ndarray


class Dataset:
    """A prepared data set; arrays are read from the file on access."""

    def __init__(self, description: Description, arrays: dict[str, np.ndarray]) -> None:
        self.description, self._arrays = description, arrays

    @property
    def classes(self) -> list[str]:
        """The data's own classes, in the order of its labels."""
        return self.description.classes

    def part(self, split: str) -> Part:
        """The images and labels of "train", "validation" or "test"."""
        where, rows = self._rows(split)
        return Part(self._arrays[f"{where}_images"][rows], self.labels(split))

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


DTYPES = {"U8": np.uint8, "I32": np.int32, "I64": np.int64}


def open_dataset(path: Path) -> Dataset:
    """Memory-map a file that `prepare` wrote.

    Raises:
        BadInput: the file is not a prepared data set.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, 1 << 24)))
        description = Description.model_validate_json(header.pop("__metadata__")["relevo"])
        # By hand: safetensors' own reader copies arrays into memory.
        arrays: dict[str, np.ndarray] = {
            name: np.memmap(
                path,
                dtype=DTYPES[entry["dtype"]],
                mode="r",
                offset=8 + length + entry["data_offsets"][0],
                shape=tuple(entry["shape"]),
            )
            for name, entry in header.items()
        }
        if not _is_consistent(description, arrays):
            raise ValueError("its parts don't fit each other")
    except (
        *(OSError, ValueError, KeyError, TypeError, AttributeError),
        *(OverflowError, RecursionError),
    ):
        raise BadInput(f"{path} is not a prepared data set; prepare it again") from None
    return Dataset(description, arrays)


def _is_consistent(about: Description, arrays: dict[str, np.ndarray]) -> bool:
    """Check shapes, dtypes and ranges, since a store's bytes can't be trusted."""
    side, held_back = about.image_size, arrays["validation"]
    for split in ("train", "test"):
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        fits = images.dtype == np.uint8 and images.shape == (len(labels), side, side, 3)
        known = labels.dtype == np.int32 and labels.ndim == 1 and _below(labels, len(about.classes))
        if not (fits and known and arrays[f"{split}_names"].dtype == np.uint8):
            return False
    whole = held_back.dtype == np.int64 and held_back.ndim == 1
    return whole and _below(held_back, len(arrays["train_labels"]))


def _below(values: np.ndarray, limit: int) -> bool:
    return not len(values) or (values.min() >= 0 and values.max() < limit)
