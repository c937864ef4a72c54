"""Write images as one prepared data set file, with a validation split (`dataset` reads it)."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from tasks.vision.data.dataset import MAX_HEADER, Description, Listed
from tasks.vision.data.labelled import ImageSet, Split
from tasks.vision.errors import BadInput
from tasks.vision.pictures.fit import CROP, Fit

SPLIT_SEED = 0  # the split belongs to the data, not to a run's seed


def prepare(
    found: ImageSet, image_size: int, validation: float, path: Path, fit: Fit = CROP
) -> Description:
    """Hold out validation images, look for duplicates, and write everything to the file `path`.

    Args:
        validation: share of each class's training images to hold out for choosing epochs and settings;
            unused if the data has validation images of its own.
        fit: how the images became squares.

    Raises:
        BadInput: a class has too few images for both, or the file can't be written.
    """
    train, test = found.splits["train"], found.splits["test"]
    if found.validation:
        held_back = _own_validation(train, found.classes, found.validation)
    else:
        held_back = _hold_back(train.labels, found.classes, validation)
    remaining = np.delete(train.labels, held_back)
    per_class = {"train": remaining, "validation": train.labels[held_back], "test": test.labels}
    duplicates, contradictions = find_twins(train, test)
    description = Description(
        image_size=image_size,
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
        validation=found.validation,
        fit=fit,
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
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if header > MAX_HEADER:  # `open_dataset` would refuse it
        raise BadInput(
            f"the names of {len(found.classes)} classes take {header} bytes; expected at most"
            f" {MAX_HEADER}: shorten them"
        )
    return description


def _own_validation(train: Split, classes: list[str], folder: str) -> np.ndarray:
    """Sorted rows of the images in a folder; `BadInput` unless it and the rest have some of each class."""
    held_back = np.array([name.startswith(f"{folder}/") for name in train.names])
    for where, labels in (("train", train.labels[~held_back]), (folder, train.labels[held_back])):
        if missing := {*range(len(classes))} - {*labels.tolist()}:
            raise BadInput(
                f"class {classes[min(missing)]!r} has no image in {where} that can be read; expected one"
                " or more: add some"
            )
    return np.flatnonzero(held_back)


def _hold_back(labels: np.ndarray, classes: list[str], validation: float) -> np.ndarray:
    """Sorted rows of the validation images, at least one of each class; `BadInput` if that can't be."""
    from sklearn.model_selection import train_test_split  # slow to import, and only needed here

    counts = np.bincount(labels, minlength=len(classes))
    if counts.min() < 2:
        raise BadInput(
            f"class {classes[int(counts.argmin())]!r} has one training image; expected two or more, one"
            " of them to choose epochs by: add images of it, or remove the class from train and test"
        )
    held, least = round(len(labels) * validation), len(classes)
    if not least <= held <= len(labels) - least:
        bounds = (least, len(labels) - least)
        low, high = (math.ceil(100 * each / len(labels)) / 100 for each in bounds)
        raise BadInput(
            f"{len(labels)} training images of {least} classes: a share of {validation} for validation"
            f" is {held}; expected one or more of each class, and as many left: set data.validation"
            f" to {low:g} at least and {high:g} at most, or add images"
        )
    rows = train_test_split(
        np.arange(len(labels)), test_size=validation, stratify=labels, random_state=SPLIT_SEED
    )
    train, held_back = (np.sort(each) for each in rows)
    # Of a class of few images, chance may have left none on one side.
    missing = np.setdiff1d(labels, labels[held_back])
    lent = [train[labels[train] == label][-1] for label in missing]
    missing = np.setdiff1d(labels, labels[train])
    returned = [held_back[labels[held_back] == label][0] for label in missing]
    return np.sort(np.concatenate([np.setdiff1d(held_back, returned), lent])).astype(np.int64)


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


def _keys(images: np.ndarray) -> Iterator[bytes]:
    for image in np.ascontiguousarray(images):
        yield hashlib.blake2b(image.data, digest_size=16).digest()
