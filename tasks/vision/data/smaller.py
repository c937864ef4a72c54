"""Images made smaller: at once if they are in memory, else each time they are read."""

from __future__ import annotations

from typing import Any

import numpy as np

from tasks.vision.data.augment import resize
from tasks.vision.data.images import Images
from tasks.vision.data.stored_images import StoredImages


def smaller(images: Images, size: int) -> Images:
    """Return images resized to `size` pixels per side, like an array: (n, size, size, 3) uint8."""
    if isinstance(images, StoredImages):
        return _Smaller(images, size)
    return resize(np.asarray(images), size)


class _Smaller:
    """Images that are resized each time they are read."""

    dtype: np.dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, images: StoredImages, size: int) -> None:
        self._images, self._size = images, size

    def __len__(self) -> int:
        return len(self._images)

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self), self._size, self._size, 3

    @property
    def nbytes(self) -> int:
        return len(self) * self._size**2 * 3

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self[:]

    def __getitem__(self, index: Any, /) -> Any:
        return resize(self._images[index], self._size)
