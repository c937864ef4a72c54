"""What is new in a data set since an earlier one: pictures by class, near duplicates of test, and drift."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.vision.check.findings import Group
from tasks.vision.data.batches.augment import evenly_spaced
from tasks.vision.ood_score import OOD_THRESHOLD
from tasks.vision.recipe.schema import Strict

SHOWN = 12  # pictures


class ClassChange(Strict):
    """What changed in a class.

    Attributes:
        relabelled: pictures that had another label before. images: that it has now.
    """

    label: str
    added: int
    removed: int
    relabelled: int
    images: int


class Drift(Strict):
    """How unlike the last training set new pictures are.

    Attributes:
        stage: of the run before, whose model tells. judged: new pictures. unlike: of them, those that are less
            like its training images than 95 % of its validation images are; about a twentieth by chance.
        interval: 95 % interval of their share.
    """

    stage: str
    judged: int
    unlike: int
    interval: tuple[float, float]


class NewPicture(Strict):
    """A new picture that is shown: its row in the data set, and how unlike the last training set it is."""

    row: int
    file: str
    label: str
    split: str
    unlike: float | None = None


class Incoming(Strict):
    """What came in since the run before.

    Attributes:
        run: name of that run. near_test: new training pictures that are nearly the same as one of test; None if
            nobody has looked.
        shown: the least like the last training set first, or some of all, if no model tells.
    """

    run: str
    added: int
    removed: int
    relabelled: int
    classes: tuple[ClassChange, ...]
    near_test: int | None
    drift: Drift | None
    shown: tuple[NewPicture, ...]


@dataclass(frozen=True, eq=False)
class Pictures:
    """The pictures of a data set, those of train first, then those of test.

    Attributes:
        pixels: (n,) uint64, a hash of each. labels: the class of each. names, splits: of each.
    """

    pixels: np.ndarray
    labels: np.ndarray
    names: Sequence[str]
    splits: np.ndarray


@dataclass(frozen=True, eq=False)
class Difference:
    """Rows that differ between two data sets.

    Attributes:
        added, relabelled: of the later one. removed: of the earlier one.
    """

    added: np.ndarray
    relabelled: np.ndarray
    removed: np.ndarray

    def __bool__(self) -> bool:
        return any(map(len, (self.added, self.relabelled, self.removed)))


def difference(before: Pictures, now: Pictures) -> Difference | None:
    """Compare two data sets by the pixels of their pictures; None if they have no picture in common."""
    known = np.isin(now.pixels, before.pixels)
    if not known.any():
        return None
    had = set(zip(before.pixels.tolist(), before.labels.tolist(), strict=True))
    there = np.flatnonzero(known)
    pairs = zip(now.pixels[there].tolist(), now.labels[there].tolist(), strict=True)
    other = np.array([pair not in had for pair in pairs], bool)
    gone = np.flatnonzero(~np.isin(before.pixels, now.pixels))
    return Difference(np.flatnonzero(~known), there[other], gone)


def class_changes(before: Pictures, now: Pictures, changed: Difference) -> tuple[ClassChange, ...]:
    """Count the differences by class, those of classes that are gone included."""
    added, relabelled = Counter(now.labels[changed.added]), Counter(now.labels[changed.relabelled])
    removed, images = Counter(before.labels[changed.removed]), Counter(now.labels)
    return tuple(
        ClassChange(
            label=str(label),
            added=added[label],
            removed=removed[label],
            relabelled=relabelled[label],
            images=images[label],
        )
        for label in sorted({*added, *relabelled, *removed})
    )


def near_test(now: Pictures, added: np.ndarray, groups: Sequence[Group]) -> int:
    """Count the new pictures outside test that are nearly the same as one of test."""
    of_test, new = now.splits == "test", np.zeros(len(now.pixels), bool)
    new[added] = True
    found = 0
    for group in groups:
        rows = np.array(group.rows, np.int64)
        if of_test[rows].any():
            found += int((new[rows] & ~of_test[rows]).sum())
    return found


def drift_of(stage: str, shares: np.ndarray) -> Drift:
    """Count the pictures that are unlike a training set.

    Args:
        shares: (n,) of each new picture, the share of validation images that are more like training; n > 0.
    """
    from tasks.vision.evaluation.metrics import wilson

    unlike = int((shares >= OOD_THRESHOLD).sum())
    return Drift(
        stage=stage, judged=len(shares), unlike=unlike, interval=wilson(unlike, len(shares))
    )


def shown_of(now: Pictures, added: np.ndarray, shares: np.ndarray | None) -> tuple[NewPicture, ...]:
    """Choose the pictures to show; arguments as above."""
    if shares is None:
        chosen = np.asarray(evenly_spaced(len(added), SHOWN), np.int64)
    else:
        chosen = np.argsort(-shares, kind="stable")[:SHOWN]
    return tuple(
        NewPicture(
            row=int(added[at]),
            file=now.names[added[at]],
            label=str(now.labels[added[at]]),
            split=str(now.splits[added[at]]),
            unlike=None if shares is None else round(float(shares[at]), 4),
        )
        for at in chosen.tolist()
    )
