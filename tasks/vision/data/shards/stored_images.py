"""Images that are read from a data set's shards where they are indexed, as if they were in an array."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import pairwise
from pathlib import Path

import numpy as np

from tasks.vision.data.images import FileImages
from tasks.vision.data.shards.shard_files import Room, ShardFiles
from tasks.vision.data.shards.shards import Shard


class StoredImages(FileImages):
    """Images (n, size, size, 3) uint8 in shards.

    Args:
        files: the shards. rows: those to show, in this order, of the shards' images one after the other.
    """

    def __init__(self, files: ShardFiles, rows: np.ndarray, window: int = 0) -> None:
        super().__init__(len(rows), files.side, window)
        self._files, self._rows = files, rows
        self._starts = np.cumsum([0, *(shard.count for shard in files.shards)])

    @classmethod
    def of(
        cls,
        shards: tuple[Shard, ...],
        size: int,
        locate: Callable[[Shard], Path],
        rows: np.ndarray,
        window: int,
        room: Room | None = None,
    ) -> StoredImages:
        """Return images of the shards, of `size` pixels per side; shards without any of them are left out."""
        counts = np.array([shard.count for shard in shards], np.int64)
        numbers = np.searchsorted(np.cumsum(counts), rows, side="right")
        used = np.bincount(numbers, minlength=len(shards)) > 0
        before = np.cumsum(np.where(used, 0, counts))
        chosen = tuple(shard for shard, needed in zip(shards, used, strict=True) if needed)
        return cls(ShardFiles(chosen, size, locate, room), rows - before[numbers], window)

    def select(self, rows: slice | np.ndarray) -> StoredImages:
        return StoredImages(self._files, self._rows[rows], self.window)

    def shard_of(self, rows: np.ndarray | None = None) -> np.ndarray:
        """The number of each image's shard: (n,) int64."""
        stored = self._rows if rows is None else rows
        return np.searchsorted(self._starts, stored, side="right") - 1

    def stored_order(self) -> np.ndarray:
        return _by_shard(self._rows, self.shard_of())

    def in_order(self, order: np.ndarray) -> AbstractContextManager[None]:
        return self._files.in_order(self.shard_of(self._rows[order]))

    def _read(self, index: slice | np.ndarray) -> np.ndarray:
        rows = self._rows[index]
        out = np.empty((len(rows), *self.shape[1:]), np.uint8)
        shards = self.shard_of(rows)
        order = _by_shard(rows, shards)
        # A read ends where the next row is not the next image of the same shard, or goes elsewhere.
        jumps = (np.diff(rows[order]) != 1) | (np.diff(shards[order]) != 0) | (np.diff(order) != 1)
        edges = [0, *(np.flatnonzero(jumps) + 1).tolist(), len(rows)] if len(rows) else []
        for start, end in pairwise(edges):
            first = int(order[start])
            number = int(shards[first])
            to = out[first : first + end - start]
            self._files.read(number, int(rows[first] - self._starts[number]), to)
        return out


def _by_shard(rows: np.ndarray, shards: np.ndarray) -> np.ndarray:
    """Order positions by shard, in the order of its first image, and within it by row."""
    _, first, number = np.unique(shards, return_index=True, return_inverse=True)
    return np.lexsort((rows, first[number]))
