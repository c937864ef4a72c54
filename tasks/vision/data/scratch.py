"""Images while they are prepared: in an array, or if that would be large, in a temporary file."""

from __future__ import annotations

import os
import tempfile
from itertools import pairwise
from typing import IO, Any

import numpy as np

from tasks.vision.errors import BadInput

IN_MEMORY = 256 << 20  # bytes of images that are prepared in memory


class ScratchImages:
    """Images (n, size, size, 3) uint8 in a temporary file, like an array that is read where it is indexed.

    Slices and arrays of rows are read as copies; `select` shows some images without reading them. The
    file has no name, and goes with the last object that uses it.
    """

    dtype: np.dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, file: IO[bytes], rows: np.ndarray, size: int) -> None:
        self._file, self._rows, self._size = file, rows, size

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """As of an array."""
        return len(self), self._size, self._size, 3

    @property
    def nbytes(self) -> int:
        """Bytes of all images."""
        return len(self) * self._each

    @property
    def _each(self) -> int:
        return self._size**2 * 3

    def select(self, rows: slice | np.ndarray) -> ScratchImages:
        """The images in these rows."""
        return ScratchImages(self._file, self._rows[rows], self._size)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        if copy is False:
            raise ValueError("images in a file can't become an array without a copy")
        return self[:]

    def __getitem__(self, index: Any, /) -> Any:
        if isinstance(index, int | np.integer):
            return self[np.array([index])][0]
        rows = self._rows[index]
        # Zeros, for rows beyond the end of the file, which were never written.
        out = np.zeros((len(rows), *self.shape[1:]), np.uint8)
        for start, stop in _runs(rows):
            view, offset = out[start:stop].reshape(-1).data, int(rows[start]) * self._each
            while view and (read := os.preadv(self._file.fileno(), [view], offset)):
                view, offset = view[read:], offset + read
        return out

    def __setitem__(self, index: Any, images: np.ndarray | int, /) -> None:
        """Write images.

        Raises:
            BadInput: there is no space left.
        """
        rows = self._rows[index]
        pixels = np.asarray(images, np.uint8)
        values = np.ascontiguousarray(np.broadcast_to(pixels, (len(rows), *self.shape[1:])))
        try:
            for start, stop in _runs(rows):
                view, offset = values[start:stop].reshape(-1).data, int(rows[start]) * self._each
                while view:
                    written = os.pwrite(self._file.fileno(), view, offset)
                    view, offset = view[written:], offset + written
        except OSError as error:
            raise _unwritable(error) from None


ImageBuffer = np.ndarray | ScratchImages


def image_buffer(count: int, size: int) -> ImageBuffer:
    """Return room for `count` images of `size` pixels per side: (count, size, size, 3) uint8.

    Raises:
        BadInput: no temporary file can be made.
    """
    if count * size**2 * 3 <= IN_MEMORY:
        return np.empty((count, size, size, 3), np.uint8)
    try:
        file = tempfile.TemporaryFile(prefix="relevo-", buffering=0)  # noqa: SIM115
    except OSError as error:
        raise _unwritable(error) from None
    return ScratchImages(file, np.arange(count), size)


def select(images: ImageBuffer, rows: slice | np.ndarray) -> ImageBuffer:
    """Return the images in these rows: those of a file stay there, as a slice of an array does."""
    return images[rows] if isinstance(images, np.ndarray) else images.select(rows)


def _runs(rows: np.ndarray) -> list[tuple[int, int]]:
    """Where consecutive rows begin and end."""
    edges = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)] if len(rows) else []
    return list(pairwise(edges))


def _unwritable(error: OSError) -> BadInput:
    return BadInput(
        f"images can't be written to {tempfile.gettempdir()} ({error}); free space there, or set TMPDIR"
        " to another folder"
    )
