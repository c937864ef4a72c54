"""Images made smaller: at once if they are in memory, else each time they are read."""

from __future__ import annotations

from contextlib import AbstractContextManager

import numpy as np

from tasks.vision.data.batches.augment import resize
from tasks.vision.data.images import FileImages, Images, pieces

PIECE = 1000  # images of full size that are in memory at a time


def smaller(images: Images, size: int) -> Images:
    """Return images resized to `size` pixels per side, like an array: (n, size, size, 3) uint8."""
    if isinstance(images, FileImages):
        return _Smaller(images, size)
    return resize(np.asarray(images), size)


class _Smaller(FileImages):
    """Images that are resized each time they are read."""

    def __init__(self, images: FileImages, size: int) -> None:
        super().__init__(len(images), size, images.window)
        self._images = images

    def select(self, rows: slice | np.ndarray) -> _Smaller:
        return _Smaller(self._images.select(rows), self._side)

    def shard_of(self) -> np.ndarray:
        return self._images.shard_of()

    def stored_order(self) -> np.ndarray:
        return self._images.stored_order()

    def in_order(self, order: np.ndarray) -> AbstractContextManager[None]:
        return self._images.in_order(order)

    def _read(self, index: slice | np.ndarray) -> np.ndarray:
        chosen = self._images.select(index)
        out = np.empty((len(chosen), *self.shape[1:]), np.uint8)
        for positions, part in pieces(chosen, PIECE):
            out[positions] = resize(part, self._side)
        return out
