"""Images as functions take them: in an array, or in files that are read where they are indexed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np


class Images(Protocol):
    """What an array, of images (n, size, size, 3) uint8 for instance, and `FileImages` have in common."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def ndim(self) -> int: ...
    @property
    def dtype(self) -> np.dtype: ...
    @property
    def nbytes(self) -> int: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: Any, /) -> Any: ...
    def __array__(self) -> Any: ...


class FileImages(ABC):
    """Images (n, size, size, 3) uint8 that are read where they are indexed, as if they were in an array.

    Args:
        count: number of images. side: pixels per side.

    Attributes:
        window: number of images that an epoch shuffles at a time; 0 for all.
    """

    dtype: np.dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, count: int, side: int, window: int = 0) -> None:
        self._count, self._side, self.window = count, side, window

    def __len__(self) -> int:
        return self._count

    @property
    def shape(self) -> tuple[int, ...]:
        """As of an array."""
        return self._count, self._side, self._side, 3

    @property
    def nbytes(self) -> int:
        """Bytes of all images."""
        return self._count * self._side**2 * 3

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        if copy is False:
            raise ValueError("images in files can't become an array without a copy")
        with self.in_order(self.stored_order()):
            return self[:]

    def __getitem__(self, index: Any, /) -> Any:
        """Read one image for an integer, else (m, size, size, 3) for a slice or an array.

        Raises:
            BadInput: a file isn't the one that the data set's index names.
        """
        if isinstance(index, int | np.integer):
            return self._read(np.array([index]))[0]
        return self._read(index)

    @abstractmethod
    def _read(self, index: slice | np.ndarray) -> np.ndarray:
        """Read images: (m, size, size, 3)."""

    @abstractmethod
    def select(self, rows: slice | np.ndarray) -> FileImages:
        """Return the images in these rows, without reading them."""

    @abstractmethod
    def shard_of(self) -> np.ndarray:
        """The number of each image's shard: (n,) int64."""

    @abstractmethod
    def stored_order(self) -> np.ndarray:
        """Positions (n,) of the images in an order that reads one shard after the other, as `self[:]` does."""

    @abstractmethod
    def in_order(self, order: np.ndarray) -> AbstractContextManager[None]:
        """Fetch and check shards ahead of their use while images are read in this order.

        Raises:
            BadInput: more shards are needed at a time than may be on this machine.
        """


def select(images: Images, rows: np.ndarray) -> Images:
    """Return the images in these rows; those in files stay there."""
    return images.select(rows) if isinstance(images, FileImages) else images[rows]


def stored_order(images: Images) -> np.ndarray:
    """Positions (n,) of images in the order in which all are read fastest."""
    return images.stored_order() if isinstance(images, FileImages) else np.arange(len(images))


def pieces(
    images: Images, size: int, begin: int = 0
) -> Generator[tuple[slice | np.ndarray, np.ndarray], None, None]:
    """Yield all images, `size` at a time in the order in which they are stored, and their positions.

    Args:
        begin: number of images to leave out, the first in that order.
    """
    if not isinstance(images, FileImages):
        for start in range(begin, len(images), size):
            part = slice(start, start + size)
            yield part, images[part]
        return
    order = images.stored_order()[begin:]
    with images.in_order(order):
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            yield chosen, images[chosen]
