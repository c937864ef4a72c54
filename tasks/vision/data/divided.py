"""The three splits of a set of images: its own where it has them, else made."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tasks.vision.data.dataset import MadeSplits
from tasks.vision.data.labelled import ImageSet, Split
from tasks.vision.data.splits.made_splits import TEST, VALIDATION, Undivided, divide
from tasks.vision.errors import BadInput

SPLIT_SEED = 0  # the split belongs to the data, not to a run's seed


@dataclass(frozen=True)
class Divided:
    """The images of a data set.

    Attributes:
        train: those of validation included. held_back: sorted rows of those, (n,) int64.
        made: how splits were made by content, if any was.
    """

    train: Split
    test: Split
    held_back: np.ndarray
    made: MadeSplits | None = None


def divided(
    found: ImageSet, validation: float, test: float, fold: tuple[int, int] | None = None
) -> Divided:
    """Divide images as their data says, and by content or rows where it doesn't; arguments as for `prepare`.

    Args:
        fold: (k, K) for cross-validation: the k-th of K parts of train and validation is validation.

    Raises:
        BadInput: a class has too few images for all splits.
    """
    train = found.splits["train"]
    own = None if fold else train.held_out
    if own is not None:
        _check_own_validation(train.labels, own, found)
    if found.undivided:
        return _by_content(found, validation, test, fold)
    if fold:
        held_back = _fold_of(train.labels, found.classes, *fold)
    elif own is None:
        held_back = _hold_back(train.labels, found.classes, validation)
    else:
        held_back = np.flatnonzero(own)
    return Divided(train, found.splits["test"], held_back)


def _by_content(
    found: ImageSet, validation: float, test: float, fold: tuple[int, int] | None
) -> Divided:
    """Make the splits that are missing; the data's own validation images stay, but for cross-validation."""
    train = found.splits["train"]
    own = None if fold else train.held_out
    fixed = np.zeros(len(train.labels), bool) if own is None else own
    free = np.flatnonzero(~fixed)
    shares = {
        "test": None if "test" in found.splits else test,
        "validation": None if fixed.any() else 1 / fold[1] if fold else validation,
    }
    chosen = train.select(free) if fixed.any() else train
    assert chosen.known
    division = divide(
        Undivided(
            chosen.known,
            chosen.labels,
            found.classes,
            [content.tobytes() for content in chosen.known.contents],
            chosen.groups,
        ),
        shares["validation"] or 0,
        shares["test"] or 0,
        fold,
    )
    sides = np.full(len(fixed), VALIDATION, np.int8)
    sides[free] = division.sides
    made = MadeSplits(**shares, groups=len({*chosen.groups} - {""}), alike=division.alike)
    if "test" in found.splits:
        return Divided(train, found.splits["test"], np.flatnonzero(sides == VALIDATION), made)
    rest, tested = np.flatnonzero(sides != TEST), np.flatnonzero(sides == TEST)
    held_back = np.flatnonzero(sides[rest] == VALIDATION)
    return Divided(train.select(rest), train.select(tested), held_back, made)


def _check_own_validation(labels: np.ndarray, held_out: np.ndarray, found: ImageSet) -> None:
    """Raise `BadInput` unless the data's own validation images and the rest have some of each class."""
    for where, some in (
        ("train", labels[~held_out]),
        (f"validation ({found.validation})", labels[held_out]),
    ):
        if missing := {*range(len(found.classes))} - {*some.tolist()}:
            raise BadInput(
                f"class {found.classes[min(missing)]!r} has no image in {where} that can be read; expected one"
                " or more: add some"
            )


def _fold_of(labels: np.ndarray, classes: list[str], number: int, count: int) -> np.ndarray:
    """Sorted rows of one of `count` parts, each with as many of each class; `BadInput` if that can't be."""
    from sklearn.model_selection import StratifiedKFold  # slow to import, and only needed here

    images = np.bincount(labels, minlength=len(classes))
    if images.min() < count:
        raise BadInput(
            f"class {classes[int(images.argmin())]!r} has {images.min()} training images; expected {count} or"
            f" more for {count} folds: use fewer folds, or add images of it"
        )
    parts = StratifiedKFold(count, shuffle=True, random_state=SPLIT_SEED).split(labels, labels)
    return np.sort(list(parts)[number - 1][1]).astype(np.int64)


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
