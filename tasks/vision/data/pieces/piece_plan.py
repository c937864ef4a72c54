"""Which images of earlier pieces are used again, and what new pieces are made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.vision.data.pieces.pieces import DIGEST, Piece

NONE = -1  # in place of a row


class EarlierImages:
    """Images of earlier pieces by the hashes of their files."""

    def __init__(self, pieces: Sequence[Piece], bits: int | None = None) -> None:
        """Only those whose 16-bit samples were decoded as so many bits, unless it is None."""
        contents = [piece.facts.contents for piece in pieces]
        found = _numbers(np.concatenate([np.empty((0, DIGEST), np.uint8), *contents]))
        self._rows = np.arange(len(found))
        if bits is not None and pieces:
            used = np.concatenate([piece.facts.bits for piece in pieces])
            self._rows = np.flatnonzero(used == bits)
        order = np.lexsort((found[self._rows, 1], found[self._rows, 0]))
        self._rows = self._rows[order]
        self._found = found[self._rows]

    def rows_of(self, contents: np.ndarray) -> np.ndarray:
        """The row of an image of each file, (n,) int64; NONE where there is none.

        Args:
            contents: (n, 16) uint8.
        """
        wanted = _numbers(contents)
        if not len(self._rows):
            return np.full(len(wanted), NONE, np.int64)
        # Where two files have the same first half, one of them may count as new.
        at = np.searchsorted(self._found[:, 0], wanted[:, 0])
        at = np.minimum(at, len(self._found) - 1)
        return np.where((self._found[at] == wanted).all(axis=1), self._rows[at], NONE)


def _numbers(contents: np.ndarray) -> np.ndarray:
    """Hashes as numbers that can be sorted: (n, 2) uint64."""
    return np.ascontiguousarray(contents).view(np.uint64).reshape(-1, 2)


def new_pieces(
    rows: np.ndarray, starts: np.ndarray, order: np.ndarray, most: int
) -> list[np.ndarray]:
    """Return the files of which each new piece is made: those without an image, and images to copy.

    Images are copied from shards of which less than half of what a shard can hold is used, so that the number
    of shards stays bounded however often some pictures are added or removed.

    Args:
        rows: (files,) the row of each file's image, or NONE. starts: as of `PieceImages`.
        order: (files,) in which files are read. most: images of a shard.
    """
    missing = order[rows[order] == NONE]
    there = np.flatnonzero(rows != NONE)
    piece = np.searchsorted(starts, rows[there], side="right") - 1
    counts = np.diff(starts)
    used = np.bincount(
        np.searchsorted(starts, np.unique(rows[there]), side="right") - 1, minlength=len(counts)
    )
    sparse = (used > 0) & (used < most / 2)
    if not len(missing) and sparse.sum() == 1 and (used == counts)[sparse].all():
        sparse[:] = False  # nothing would be gained
    copied = there[sparse[piece]]
    copied = copied[np.argsort(rows[copied], kind="stable")]
    items = np.concatenate([copied, missing])
    return [items[at : at + most] for at in range(0, len(items), most)]
