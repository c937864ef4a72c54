"""Write images as a prepared data set, divided into splits (`dataset` reads it)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from tasks.vision.data.dataset import MAX_HEADER, Description, Listed, Shards
from tasks.vision.data.divided import divided
from tasks.vision.data.images import Images
from tasks.vision.data.labelled import ImageSet, Split
from tasks.vision.data.shards import write_shards
from tasks.vision.errors import BadInput
from tasks.vision.recipe.data import Data

HASHED = 1000  # images that are in memory at a time


def prepare(
    found: ImageSet, data: Data, path: Path, publish: Callable[[Path], tuple[str, int]]
) -> Description:
    """Divide images into splits, look for duplicates, publish the images, and write the index to `path`.

    Args:
        data: how the images were prepared, and the shares of splits that are made. Images that are set aside
            for test are moved within the arrays of `found`.
        publish: takes each shard's file; see `write_shards`.

    Raises:
        BadInput: a class has too few images for all, or the file can't be written.
    """
    splits = divided(found, data.validation, data.test, data.fold)
    train, held_back = splits.train, splits.held_back
    remaining = np.delete(train.labels, held_back)
    per_class = {
        "train": remaining,
        "validation": train.labels[held_back],
        "test": splits.test.labels,
    }
    duplicates, contradictions = find_twins(train, splits.test)
    try:
        shards = Shards(
            train=tuple(write_shards(train.images, path.parent, publish)),
            test=tuple(write_shards(splits.test.images, path.parent, publish)),
        )
    except (OSError, SafetensorError) as error:
        raise _unwritable(path, error) from None
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
        # Of a data set within the window it is 0, so that the window changes no digest.
        window=window_images(train.images, data.window_gb),
    )
    arrays = {
        "train_labels": train.labels.astype(np.int32),
        "train_names": _as_bytes(train.names),
        "test_labels": splits.test.labels.astype(np.int32),
        "test_names": _as_bytes(splits.test.names),
        "validation": held_back.astype(np.int64),
    }
    try:
        save_file(arrays, path, {"relevo": description.model_dump_json()})
    except (OSError, SafetensorError) as error:
        raise _unwritable(path, error) from None
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if header > MAX_HEADER:  # `open_dataset` would refuse it
        raise BadInput(
            f"the names of {len(found.classes)} classes take {header} bytes; expected at most"
            f" {MAX_HEADER}: shorten them"
        )
    return description


def window_images(images: Images, gigabytes: float) -> int:
    """How many of the images are shuffled at a time; 0 for all."""
    most = int(gigabytes * 1e9)
    return max(1, most * len(images) // images.nbytes) if images.nbytes > most else 0


def _unwritable(path: Path, error: Exception) -> BadInput:
    return BadInput(
        f"the data set can't be written to {path.parent} ({error}); free space there, or set "
        "TMPDIR to another folder"
    )


def _as_bytes(names: list[str]) -> np.ndarray:
    return np.frombuffer(json.dumps(names).encode(), np.uint8)


Pairs = list[tuple[str, str]]


def find_twins(train: Split, test: Split) -> tuple[Pairs, Pairs]:
    """Find images with the same pixels: those in both splits, and those with different labels.

    Returns:
        (first name in train, name in test) of the ones, (first name, other name) of the others.
    """
    duplicates: Pairs = []
    contradictions: Pairs = []
    first: dict[bytes, tuple[int, Split, int]] = {}
    for tested, split in enumerate((train, test)):
        for row, key in enumerate(_keys(split.images)):
            of_test, there, twin = first.setdefault(key, (tested, split, row))
            if tested and not of_test:
                duplicates.append((there.names[twin], split.names[row]))
            if there.labels[twin] != split.labels[row]:
                contradictions.append((there.names[twin], split.names[row]))
    return duplicates, contradictions


def _keys(images: Images) -> Iterator[bytes]:
    for start in range(0, len(images), HASHED):
        for image in np.ascontiguousarray(images[start : start + HASHED]):
            yield hashlib.blake2b(image.data, digest_size=16).digest()
