"""Write images as a prepared data set, divided into splits (`dataset` reads it)."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError

from tasks.vision.data.dataset import Description, Listed
from tasks.vision.data.divided import divided
from tasks.vision.data.images import Images
from tasks.vision.data.labelled import ImageSet, Split
from tasks.vision.data.pieces.new_piece import pixel_digests, unwritable
from tasks.vision.data.pieces.pieces import DIGEST, PieceStore
from tasks.vision.data.shards.arrays import MAX_HEADER, write_arrays
from tasks.vision.data.shards.shards import Shard, write_shards
from tasks.vision.errors import BadInput
from tasks.vision.recipe.data import Data

HASHED = 1000  # images that are in memory at a time


class Prepared(NamedTuple):
    """A prepared data set.

    Attributes:
        digest: SHA-256, in hex, of what it says, wherever its images are stored.
    """

    about: Description
    digest: str


def prepare(found: ImageSet, data: Data, path: Path, store: PieceStore) -> Prepared:
    """Divide images into splits, look for duplicates, and write the index to `path`.

    Args:
        data: how the images were prepared, and the shares of splits that are made.
        store: where the pieces of `found` are, or where the images of arrays are stored.

    Raises:
        BadInput: a class has too few images for all, or the file can't be written.
    """
    splits = divided(found, data.validation, data.test, data.fold)
    train, test, held_back = splits.train, splits.test, splits.held_back
    pixels = {"train": _pixels(train), "test": _pixels(test)}
    per_class = {
        "train": np.delete(train.labels, held_back),
        "validation": train.labels[held_back],
        "test": test.labels,
    }
    duplicates, contradictions = _twins(train, test, pixels["train"], pixels["test"])
    try:
        shards, rows = _stored(found, train, test, path.parent, store)
    except (OSError, SafetensorError) as error:
        raise unwritable(path.parent, error) from None
    description = Description(
        image_size=data.image_size,
        classes=found.classes,
        counts={
            split: np.bincount(labels, minlength=len(found.classes)).tolist()
            for split, labels in per_class.items()
        },
        duplicates=Listed.of(duplicates),
        contradictions=Listed.of(contradictions),
        unreadable=Listed.of(found.unreadable),
        left_out=tuple(found.left_out),
        odd=Listed.of(found.odd),
        bits=found.bits,
        validation="" if data.fold else found.validation,
        fit=data.fit,
        made=splits.made,
        shards=shards,
        pieces=tuple(piece.stored for piece in found.pieces),
        # Of a data set within the window it is 0, so that the window changes no digest.
        window=window_images(train.images, data.window_gb),
        images=_digest_of(data.image_size, pixels),
    )
    arrays = {
        "train_labels": train.labels.astype(np.int32),
        "train_names": _as_bytes(train.names),
        "test_labels": test.labels.astype(np.int32),
        "test_names": _as_bytes(test.names),
        "validation": held_back.astype(np.int64),
    }
    digest = _digest(description, {**arrays, **pixels}, rows)
    try:
        header = write_arrays(path, description.model_dump_json(), {**arrays, **rows})
    except (OSError, SafetensorError) as error:
        raise unwritable(path.parent, error) from None
    if header > MAX_HEADER:  # `open_dataset` would refuse it
        raise BadInput(
            f"the names of {len(found.classes)} classes take {header} bytes; expected at most"
            f" {MAX_HEADER}: shorten them"
        )
    return Prepared(description, digest)


def _stored(
    found: ImageSet, train: Split, test: Split, folder: Path, store: PieceStore
) -> tuple[tuple[Shard, ...], dict[str, np.ndarray]]:
    """Return the shards, and the row of each image in them; those of arrays are written."""
    if train.known and test.known:
        store.finish()
        shards = tuple(piece.shard for piece in found.pieces)
        return shards, {"train_rows": train.known.rows, "test_rows": test.known.rows}
    shards = tuple(
        shard
        for split in (train, test)
        for shard in write_shards(split.images, folder, store.publish_shard)
    )
    rows = np.arange(len(train.labels) + len(test.labels))
    return shards, dict(
        zip(("train_rows", "test_rows"), np.split(rows, [len(train.labels)]), strict=True)
    )


def _digest(about: Description, content: dict[str, np.ndarray], rows: dict[str, np.ndarray]) -> str:
    """The digest of a data set's content.

    Where an epoch shuffles shards, the order of images depends on what is in each, so that counts as well.
    """
    layout = {} if about.window else {"shards"}
    text = about.model_dump_json(exclude={"images", "pieces", *layout})
    return _digest_of(text, content | (rows if about.window else {}))


def _digest_of(text: object, arrays: dict[str, np.ndarray]) -> str:
    total = hashlib.sha256(str(text).encode())
    for _, array in sorted(arrays.items()):
        total.update(str(array.shape).encode())
        total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()


def window_images(images: Images, gigabytes: float) -> int:
    """How many of the images are shuffled at a time; 0 for all."""
    most = int(gigabytes * 1e9)
    return max(1, most * len(images) // images.nbytes) if images.nbytes > most else 0


def _as_bytes(names: list[str]) -> np.ndarray:
    return np.frombuffer(json.dumps(names).encode(), np.uint8)


Pairs = list[tuple[str, str]]


def find_twins(train: Split, test: Split) -> tuple[Pairs, Pairs]:
    """Find images with the same pixels that are in both splits, and those that have different labels.

    Returns:
        Two lists of pairs of file names. In both splits: the first such image of train, and the one of
        test. With different labels: the first such image, and the later one.
    """
    return _twins(train, test, _pixels(train), _pixels(test))


def _twins(
    train: Split, test: Split, train_pixels: np.ndarray, test_pixels: np.ndarray
) -> tuple[Pairs, Pairs]:
    names = [*train.names, *test.names]
    labels = np.concatenate([train.labels, test.labels])
    keys = np.concatenate([train_pixels, test_pixels]).view(np.uint64).reshape(-1, 2)
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    new = np.append(True, (np.diff(keys[order], axis=0) != 0).any(axis=1))[: len(order)]
    first = np.empty(len(order), np.int64)  # the first row of the same pixels
    first[order] = order[np.flatnonzero(new)[np.cumsum(new) - 1]]
    rows = np.arange(len(order))
    both = np.flatnonzero((rows >= len(train.names)) & (first < len(train.names)))
    other = np.flatnonzero(labels != labels[first])
    duplicates, contradictions = (
        [(names[first[row]], names[row]) for row in found] for found in (both, other)
    )
    return duplicates, contradictions


def _pixels(split: Split) -> np.ndarray:
    return split.known.pixels if split.known else all_pixel_digests(split.images)


def all_pixel_digests(images: Images) -> np.ndarray:
    """A hash of each image's pixels, (n, 16) uint8; the images are read in pieces."""
    parts = [pixel_digests(images[at : at + HASHED]) for at in range(0, len(images), HASHED)]
    return np.concatenate([np.empty((0, DIGEST), np.uint8), *parts])
