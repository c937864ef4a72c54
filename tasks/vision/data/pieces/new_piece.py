"""Store decoded pictures as a piece of a data set."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError

from tasks.vision.data.pieces.pieces import (
    DIGEST,
    ImageFacts,
    Piece,
    PieceNote,
    PieceStore,
    read_piece,
    write_piece,
)
from tasks.vision.data.shards.shards import write_shard
from tasks.vision.data.splits.near_duplicates import BATCH, frequencies, perceptual_hashes
from tasks.vision.errors import BadInput


@dataclass(frozen=True)
class Filled:
    """Decoded pictures: n images, of which those that failed are black, and what is known of each.

    Attributes:
        images: (n, size, size, 3) uint8. contents, depths, bits: as of `ImageFacts`.
        failed, odd: as of `decode_pool.Findings`, by position.
    """

    images: np.ndarray
    contents: np.ndarray
    depths: np.ndarray
    bits: np.ndarray
    failed: dict[int, str]
    odd: dict[int, str]

    @classmethod
    def empty(cls, count: int, size: int) -> Filled:
        """Return room for so many pictures."""
        return cls(
            np.empty((count, size, size, 3), np.uint8),
            np.zeros((count, DIGEST), np.uint8),
            np.zeros(count, np.uint8),
            np.zeros(count, np.uint8),
            {},
            {},
        )


def store_piece(filled: Filled, key: str, folder: Path, store: PieceStore) -> Piece | None:
    """Write the images that did not fail and what is known of them; None if all failed.

    Args:
        folder: for temporary files.

    Raises:
        BadInput: the files can't be written.
    """
    good = np.delete(np.arange(len(filled.images)), sorted(filled.failed))
    if not len(good):
        return None
    whole = len(good) == len(filled.images)
    images = filled.images if whole else filled.images[good]
    found = np.concatenate(
        [frequencies(images[at : at + BATCH]) for at in range(0, len(images), BATCH)]
    )
    facts = ImageFacts(
        contents=filled.contents[good],
        pixels=pixel_digests(images),
        hashes=perceptual_hashes(found),
        frequencies=found,
        depths=filled.depths[good],
        bits=filled.bits[good],
    )
    position = {int(before): after for after, before in enumerate(good)}
    paths = folder / "shard", folder / "piece"
    try:
        write_shard(images, paths[0])
        note = PieceNote(
            image_size=images.shape[1],
            shard=store.publish_shard(paths[0], len(images)),
            failed=tuple(sorted(filled.failed.items())),
            odd=tuple(sorted((position[at], why) for at, why in filled.odd.items())),
        )
        write_piece(paths[1], note, facts)
        stored = store.publish_piece(key, paths[1], note.shard)
        piece = read_piece(paths[1], stored, note.image_size)  # its mapped part stays when it goes
    except (OSError, SafetensorError) as error:
        raise unwritable(folder, error) from None
    for path in paths:
        path.unlink(missing_ok=True)
    return piece


def pixel_digests(images: np.ndarray) -> np.ndarray:
    """A hash of each image's pixels: (n, 16) uint8."""
    hashes = [
        hashlib.blake2b(image.data, digest_size=DIGEST).digest()
        for image in np.ascontiguousarray(images)
    ]
    return np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, DIGEST)


def unwritable(folder: Path, error: Exception) -> BadInput:
    """The error for a temporary file that can't be written."""
    return BadInput(
        f"the data set can't be written to {folder} ({error}); free space there, or set TMPDIR to another"
        " folder"
    )
