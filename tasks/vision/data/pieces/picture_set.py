"""Which pictures are decoded, how, and the images that result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tasks.vision.data.pieces.piece_plan import NONE
from tasks.vision.data.pieces.pieces import Piece, PieceImages, PieceStore
from tasks.vision.errors import BadInput
from tasks.vision.files.containers import Container
from tasks.vision.pictures.fit import Fit

OnReuse = Callable[[int, int], None]
OnShare = Callable[[int], None]


@dataclass(frozen=True)
class Pictures:
    """Files of a container that are to be decoded.

    Attributes:
        identities: (n, 16) uint8, the same for files of the same content.
        hashed: the identities are the `content_hash` of each, which is checked when a file is read.
        check: called after some were read; raises if they have changed since they were identified.
        forget: called if one has, so that its identity is not used again.
    """

    container: Container
    paths: Sequence[str]
    identities: np.ndarray
    hashed: bool
    check: Callable[[], None] = lambda: None
    forget: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Decoding:
    """How pictures are decoded, and what was decoded before.

    Attributes:
        bits: how many bits 16-bit samples use; None for as many as the largest.
        earlier: pieces whose images are used again. workers: as of `Decoders`.
        on_reuse: called with the number of pictures that were decoded before, if any were, and of all.
        on_share: called with the number of pieces to make, if other processes can make some of them.
    """

    image_size: int
    fit: Fit
    bits: int | None
    store: PieceStore
    earlier: Sequence[Piece] = ()
    workers: int | None = None
    on_reuse: OnReuse = lambda reused, count: None
    on_share: OnShare = lambda pieces: None


@dataclass
class Decoded:
    """The images of n pictures.

    Attributes:
        rows: (n,) int64, of each picture's image in the pieces; NONE for those that can't be decoded.
        failed: why they can't be, by picture. bits: how many bits 16-bit samples use.
    """

    pieces: list[Piece]
    rows: np.ndarray
    failed: dict[int, str] = field(default_factory=dict)
    bits: int = 16

    @property
    def images(self) -> PieceImages:
        """The images of all pictures, in their order."""
        return PieceImages(self.pieces, self.rows)

    def facts(self, name: str) -> np.ndarray:
        """Return the depths or bits of each picture's image, 0 where there is none: (n,) uint8."""
        parts = [getattr(piece.facts, name) for piece in self.pieces]
        return np.concatenate([*parts, np.zeros(1, np.uint8)])[self.rows]

    def enter(self, pictures: np.ndarray, failed: dict[int, str], piece: Piece | None) -> None:
        """Add a new piece.

        Args:
            pictures: those that it was made of. failed: by position among them.
        """
        self.failed.update({int(pictures[at]): why for at, why in failed.items()})
        self.rows[pictures] = NONE
        if piece:
            good = np.delete(pictures, sorted(failed))
            self.rows[good] = self.images.starts[-1] + np.arange(len(good))
            self.pieces.append(piece)

    def of_used_pieces(self) -> Decoded:
        """Leave out the pieces of which no image is used."""
        starts, there = self.images.starts, self.rows != NONE
        numbers = np.searchsorted(starts, self.rows[there], side="right") - 1
        used = np.bincount(numbers, minlength=len(self.pieces)) > 0
        before = np.cumsum(np.where(used, 0, np.diff(starts)))
        rows = self.rows.copy()
        rows[there] -= before[numbers]
        pieces = [piece for piece, needed in zip(self.pieces, used, strict=True) if needed]
        return Decoded(pieces, rows, self.failed, self.bits)


def changed(given: str) -> BadInput:
    """The error for data that is written to while it is read."""
    return BadInput(
        f"{given} changed while it was read; wait until nothing writes there, then start the run again"
    )
