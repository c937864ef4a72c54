"""Images that are read from a data set's shards where they are indexed, as if they were in an array."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tasks.vision.data.shards import Shard, ShardFiles


class StoredImages:
    """Images (n, size, size, 3) uint8 in shards.

    Args:
        files: the shards. rows: those to show, in this order, of the shards' images one after the other.

    Attributes:
        window: number of images that an epoch shuffles at a time; 0 for all.
    """

    dtype: np.dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, files: ShardFiles, rows: np.ndarray, window: int = 0) -> None:
        self._files, self._rows, self.window = files, rows, window
        self._starts = np.cumsum([0, *(shard.count for shard in files.shards)])

    @classmethod
    def of(
        cls,
        shards: tuple[Shard, ...],
        size: int,
        locate: Callable[[Shard], Path],
        rows: np.ndarray,
        window: int,
    ) -> StoredImages:
        """Return images of the shards, of `size` pixels per side; shards without any of them are left out."""
        counts = np.array([shard.count for shard in shards], np.int64)
        numbers = np.searchsorted(np.cumsum(counts), rows, side="right")
        used = np.bincount(numbers, minlength=len(shards)) > 0
        before = np.cumsum(np.where(used, 0, counts))
        chosen = tuple(shard for shard, needed in zip(shards, used, strict=True) if needed)
        return cls(ShardFiles(chosen, size, locate), rows - before[numbers], window)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """As of an array."""
        return len(self._rows), self._files.side, self._files.side, 3

    @property
    def nbytes(self) -> int:
        """Bytes of all images."""
        return len(self._rows) * self._files.side**2 * 3

    def select(self, rows: np.ndarray) -> StoredImages:
        """Return the images in these rows, without reading them."""
        return StoredImages(self._files, self._rows[rows], self.window)

    def shard_of(self, rows: np.ndarray | None = None) -> np.ndarray:
        """The number of each image's shard: (n,) int64."""
        stored = self._rows if rows is None else rows
        return np.searchsorted(self._starts, stored, side="right") - 1

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        if copy is False:
            raise ValueError("images in files can't become an array without a copy")
        return self[:]

    def __getitem__(self, index: Any, /) -> Any:
        """Read one image for an integer, else (m, size, size, 3).

        Raises:
            BadInput: a file isn't the shard that the index names.
        """
        if isinstance(index, int | np.integer):
            return self[np.array([index])][0]
        rows = self._rows[index]
        out = np.empty((len(rows), *self.shape[1:]), np.uint8)
        shards = self.shard_of(rows)
        # A read ends where the next row is not the next image of the same shard.
        breaks = np.flatnonzero((np.diff(rows) != 1) | (np.diff(shards) != 0)) + 1
        edges = [0, *breaks.tolist(), len(rows)] if len(rows) else []
        for start, end in pairwise(edges):
            number = int(shards[start])
            self._files.read(number, int(rows[start] - self._starts[number]), out[start:end])
        return out
