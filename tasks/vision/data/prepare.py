"""Write images as one prepared data set file, with a validation split (`dataset` reads it)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from tasks.vision.data.dataset import Description
from tasks.vision.data.labelled import ImageSet, Split
from tasks.vision.errors import BadInput

SPLIT_SEED = 0  # the split belongs to the data, not to a run's seed


def prepare(found: ImageSet, image_size: int, validation: float, path: Path) -> Description:
    """Hold out validation images, look for duplicates, and write everything to the file `path`.

    Args:
        validation: share of each class's training images to hold out for choosing epochs and settings.

    Raises:
        BadInput: a class has too few images for both, or the file can't be written.
    """
    from sklearn.model_selection import train_test_split  # slow to import, and only needed here

    train, test = found.splits["train"], found.splits["test"]
    counts = np.bincount(train.labels, minlength=len(found.classes))
    scarce = [name for name, count in zip(found.classes, counts, strict=True) if count < 2]
    if scarce or round(len(train.labels) * validation) < len(found.classes):
        what = (
            f"class {scarce[0]!r} has one training image"
            if scarce
            else f"{len(train.labels)} training images"
        )
        raise BadInput(
            f"{what}: too few to hold out a share of {validation} for validation; "
            "add images or raise data.validation"
        )
    everything = np.arange(len(train.labels))
    held_back = np.sort(
        train_test_split(
            everything, test_size=validation, stratify=train.labels, random_state=SPLIT_SEED
        )[1]
    )
    remaining = np.delete(train.labels, held_back)
    per_class = {"train": remaining, "validation": train.labels[held_back], "test": test.labels}
    description = Description(
        image_size=image_size,
        classes=found.classes,
        counts={
            split: np.bincount(labels, minlength=len(found.classes)).tolist()
            for split, labels in per_class.items()
        },
        duplicates=duplicates(train, test),
        unreadable=found.unreadable,
    )
    arrays = {
        "train_images": train.images,
        "train_labels": train.labels.astype(np.int32),
        "train_names": _as_bytes(train.names),
        "test_images": test.images,
        "test_labels": test.labels.astype(np.int32),
        "test_names": _as_bytes(test.names),
        "validation": held_back.astype(np.int64),
    }
    try:
        save_file(arrays, path, {"relevo": description.model_dump_json()})
    except (OSError, SafetensorError) as error:
        raise BadInput(
            f"the data set can't be written to {path.parent} ({error}); free space there, or set "
            "TMPDIR to another folder"
        ) from None
    return description


def _as_bytes(names: list[str]) -> np.ndarray:
    return np.frombuffer(json.dumps(names).encode(), np.uint8)


def duplicates(a: Split, b: Split) -> list[tuple[str, str]]:
    """(first name in a, name in b) of every image in b with the same pixels as an image in a."""
    first: dict[bytes, str] = {}
    for key, name in zip(_keys(a.images), a.names, strict=True):
        first.setdefault(key, name)
    pairs = zip(_keys(b.images), b.names, strict=True)
    return [(first[key], name) for key, name in pairs if key in first]


def _keys(images: np.ndarray) -> Iterator[bytes]:
    for image in np.ascontiguousarray(images):
        yield hashlib.blake2b(image.data, digest_size=16).digest()
