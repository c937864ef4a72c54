"""The pieces in which pictures are prepared: a shard of images each, and a file with what is known of them.

That file is all that a later preparation needs to find the images of pictures it has seen before, to look for
duplicates and to make splits; the pixels are read from the shard by what trains.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from pydantic import Field, ValidationError

from tasks.vision.data.shards.arrays import map_arrays, write_arrays
from tasks.vision.data.shards.shards import MAX_SHARD_HEADER, Shard
from tasks.vision.data.splits.near_duplicates import FINE
from tasks.vision.recipe.schema import Strict

DIGEST = 16  # bytes


class PieceFile(Strict):
    """The file with what is known of a shard's images: SHA-256 and number of its bytes."""

    file: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0)


class PieceNote(Strict):
    """What a piece's file says in words.

    Attributes:
        failed: (position among the piece's pictures, why it can't be decoded), in order.
        odd: (position in the shard, what is odd about the picture), in order.
    """

    image_size: int
    shard: Shard
    failed: tuple[tuple[int, str], ...] = ()
    odd: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class ImageFacts:
    """What is known of n images.

    Attributes:
        contents: (n, 16) uint8, the `content_hash` of each picture's file.
        pixels: (n, 16) uint8, a hash of each image.
        hashes: (n,) uint64, frequencies: (n, k) float16; see `near_duplicates`.
        depths: (n,) uint8, how many bits the largest of 16-bit samples has; 0 for others.
        bits: (n,) uint8, as how many they were decoded; 0 for others.
    """

    contents: np.ndarray
    pixels: np.ndarray
    hashes: np.ndarray
    frequencies: np.ndarray
    depths: np.ndarray
    bits: np.ndarray


@dataclass(frozen=True)
class Piece:
    """A piece, its own file and what that says."""

    stored: PieceFile
    note: PieceNote
    facts: ImageFacts

    @property
    def shard(self) -> Shard:
        """The piece's images."""
        return self.note.shard


class PieceStore(Protocol):
    """Where pieces are stored."""

    def find(self, key: str, image_size: int) -> Piece | None:
        """Return the piece that was published under this key, if it is whole."""

    def claim(self, key: str, *, wait: bool) -> AbstractContextManager[bool]:
        """Hold a key while its piece is made; False if another process does, and not `wait`."""

    def publish_shard(self, path: Path, count: int) -> Shard:
        """Store a file of so many images, which is removed afterwards."""

    def publish_piece(self, key: str, path: Path, shard: Shard) -> PieceFile:
        """Store the file of a piece under a key, once its shard is stored."""

    def shard_path(self, shard: Shard) -> Path:
        """Return the path of a shard's file."""

    def finish(self) -> None:
        """Store what has been held back so far."""


def write_piece(path: Path, note: PieceNote, facts: ImageFacts) -> None:
    """Write a piece's own file; its shard is written before."""
    write_arrays(path, note.model_dump_json(), vars(facts))


def read_piece(path: Path, stored: PieceFile, image_size: int) -> Piece:
    """Read what `write_piece` wrote.

    Raises:
        ValueError: it is another file, or of images of another size.
    """
    text, arrays = map_arrays(path)
    try:
        note = PieceNote.model_validate_json(text)
        side = min(FINE, image_size)
        forms = {
            "contents": (np.uint8, (DIGEST,)),
            "pixels": (np.uint8, (DIGEST,)),
            "hashes": (np.uint64, ()),
            "frequencies": (np.float16, (side * side,)),
            "depths": (np.uint8, ()),
            "bits": (np.uint8, ()),
        }
        for name, (dtype, shape) in forms.items():
            if arrays[name].dtype != dtype or arrays[name].shape != (note.shard.count, *shape):
                raise ValueError(f"{name} of another form")
        # All but the largest are copied, so that few files are mapped of many pieces.
        small = {name: np.array(arrays[name]) for name in forms if name != "frequencies"}
    except (ValidationError, KeyError, RecursionError):
        raise ValueError("no piece of a data set") from None
    if note.image_size != image_size or not _is_consistent(note):
        raise ValueError("a piece of other images")
    return Piece(stored, note, ImageFacts(**small, frequencies=arrays["frequencies"]))


def _is_consistent(note: PieceNote) -> bool:
    header = note.shard.size - note.shard.count * note.image_size**2 * 3
    placed = all(0 <= at < note.shard.count for at, _ in note.odd)
    return 0 <= header <= MAX_SHARD_HEADER and placed and all(at >= 0 for at, _ in note.failed)


@dataclass(frozen=True)
class PieceImages:
    """Images by their rows in pieces, which follow each other.

    Attributes:
        rows: (n,) int64.
    """

    pieces: Sequence[Piece]
    rows: np.ndarray

    @cached_property
    def starts(self) -> np.ndarray:
        """The row at which each piece begins, and that after the last: (pieces + 1,) int64."""
        return np.cumsum([0, *(piece.shard.count for piece in self.pieces)], dtype=np.int64)

    def select(self, rows: np.ndarray) -> PieceImages:
        """Return some of the images."""
        return PieceImages(self.pieces, self.rows[rows])

    @cached_property
    def odd(self) -> dict[int, str]:
        """What is odd about images, by their row in the pieces."""
        return {
            int(start) + at: why
            for start, piece in zip(self.starts, self.pieces, strict=False)
            for at, why in piece.note.odd
        }

    @property
    def contents(self) -> np.ndarray:
        """As of `ImageFacts`, in the order of the rows."""
        return self.facts("contents")

    @property
    def pixels(self) -> np.ndarray:
        """As of `ImageFacts`, in the order of the rows."""
        return self.facts("pixels")

    @property
    def hashes(self) -> np.ndarray:
        """As of `ImageFacts`, in the order of the rows."""
        return self.facts("hashes")

    @property
    def frequencies(self) -> _Frequencies:
        """As of `ImageFacts`, read where they are indexed."""
        return _Frequencies(self)

    def facts(self, name: str) -> np.ndarray:
        """What is known of the images by that name in `ImageFacts`, but for the frequencies."""
        parts = [getattr(piece.facts, name) for piece in self.pieces]
        return np.concatenate(parts)[self.rows]


class _Frequencies:
    def __init__(self, images: PieceImages) -> None:
        self._images = images

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        images, stored = self._images, self._images.rows[rows]
        numbers = np.searchsorted(images.starts, stored, side="right") - 1
        out = np.empty((len(stored), images.pieces[0].facts.frequencies.shape[1]), np.float16)
        for number in np.unique(numbers):
            mine = numbers == number
            out[mine] = images.pieces[number].facts.frequencies[
                stored[mine] - images.starts[number]
            ]
        return out
