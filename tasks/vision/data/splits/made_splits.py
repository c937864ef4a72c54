"""Divide pictures that have no split: by the content of each, so that it stays where it is as others come.

Each picture's hash is a number in [0, 1), which is compared with the shares of test and validation, class by
class. Near duplicates and the members of a group go where one of them goes. `content_hash` is a hash of the
file, not of pixels, so that the split doesn't change with data.image_size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tasks.vision.data.splits.near_duplicates import Signatures, pairs_alike
from tasks.vision.errors import BadInput
from tasks.vision.files.image_files import content_hash
from tasks.vision.text import printable

TRAIN, VALIDATION, TEST = range(3)
PURPOSE = ("to train on", "to choose epochs by", "to test on")
_HASH = np.dtype([("place", ">u8"), ("rank", ">u8")])


@dataclass(frozen=True)
class Undivided:
    """Pictures to divide.

    Attributes:
        signatures: of the images. labels: (n,) int, into the classes.
        hashes: the `content_hash` of each. groups: the name of the group of each, or "".
    """

    signatures: Signatures
    labels: np.ndarray
    classes: Sequence[str]
    hashes: Sequence[bytes]
    groups: Sequence[str] = field(default=())


@dataclass(frozen=True)
class Division:
    """How pictures are divided.

    Attributes:
        sides: of each picture, (n,) int8: TRAIN, VALIDATION or TEST. alike: how many have a near duplicate.
    """

    sides: np.ndarray
    alike: int


def divide(
    given: Undivided, validation: float, test: float, fold: tuple[int, int] | None = None
) -> Division:
    """Divide pictures into train, validation and test, each with one or more of each class.

    Args:
        validation: share of what is left without test; 0 for none. test: share of all; 0 for none.
        fold: (k, K) for the k-th of K parts of what is left without test as validation, instead of a share.

    Raises:
        BadInput: a class has too few pictures, or too few groups.
    """
    wanted = [TRAIN, *([VALIDATION] if validation else []), *([TEST] if test else [])]
    _check_counts(given, wanted)
    pairs = pairs_alike(given.signatures)
    together = _joined(given, pairs)
    few = _classes_short_of(given, together, len(wanted))
    if few.any():  # of near duplicates alone, some have to be parted
        spared = ~few[given.labels[pairs]].any(axis=1)
        together = _joined(given, pairs[spared])
        few = _classes_short_of(given, together, len(wanted))
    if few.any():
        at = int(few.argmax())
        groups = len(np.unique(together[given.labels == at]))
        raise BadInput(
            f"class {given.classes[at]!r}: groups of its pictures: {groups}; expected {len(wanted)} or more,"
            f" {_purposes(wanted)}, since no group is in two splits: add pictures of other groups"
        )
    places = _places(given, together)
    sides = np.full(len(places), TRAIN, np.int8)
    sides[places < test + (1 - test) * validation] = VALIDATION
    sides[places < test] = TEST
    _fill_up(given, together, places, sides, wanted)
    if fold:
        _choose_fold(given, together, places, sides, test, fold)
    return Division(sides[together], len(np.unique(pairs)))


def _choose_fold(
    given: Undivided,
    together: np.ndarray,
    places: np.ndarray,
    sides: np.ndarray,
    test: float,
    fold: tuple[int, int],
) -> None:
    """Make the k-th of K parts of what is not in test validation; test is the same for every k."""
    left = sides != TEST
    within = np.clip((places - test) / (1 - test), 0, np.nextafter(1, 0))
    sides[left] = TRAIN
    sides[left & (np.floor(within * fold[1]) == fold[0] - 1)] = VALIDATION
    _fill_up(given, together, places, sides, [TRAIN, VALIDATION])


def _check_counts(given: Undivided, wanted: list[int]) -> None:
    counts = np.bincount(given.labels, minlength=len(given.classes))
    if counts.min() < len(wanted):
        label = printable(given.classes[int(counts.argmin())])
        raise BadInput(
            f"class {label!r}: images: {counts.min()}; expected {len(wanted)} or more, {_purposes(wanted)}:"
            " add images of it, or remove the class"
        )


def _purposes(wanted: list[int]) -> str:
    *some, last = (PURPOSE[side] for side in wanted)
    return f"one {', one '.join(some)} and one {last}"


def _joined(given: Undivided, pairs: np.ndarray) -> np.ndarray:
    """Number what goes together, (n,) int32: pairs, and the members of each group."""
    first: dict[str, int] = {}
    members = [
        (first.setdefault(group, row), row) for row, group in enumerate(given.groups) if group
    ]
    links = np.concatenate([pairs, np.array(members, np.int64).reshape(-1, 2)])
    graph = coo_array((np.ones(len(links), bool), links.T), shape=(len(given.labels),) * 2)
    return connected_components(graph, directed=False)[1]


def _classes_short_of(given: Undivided, together: np.ndarray, least: int) -> np.ndarray:
    """Which classes are of fewer parts that go together than `least`: (classes,) bool."""
    parts = np.unique(np.stack([given.labels, together], axis=1), axis=0)
    return np.bincount(parts[:, 0], minlength=len(given.classes)) < least


def _places(given: Undivided, together: np.ndarray) -> np.ndarray:
    """The number in [0, 1) of each part that goes together: that of the member whose rank is lowest.

    Not the lowest number, with which a part of many would nearly always be in test.
    """
    own = [
        content_hash(b"group " + group.encode()) if group else content
        for group, content in zip(
            given.groups or [""] * len(given.hashes), given.hashes, strict=True
        )
    ]
    numbers = np.frombuffer(b"".join(own), _HASH)
    order = np.lexsort((numbers["place"], numbers["rank"], together))
    _, first = np.unique(together[order], return_index=True)
    return numbers["place"][order[first]] / 2.0**64


def _fill_up(
    given: Undivided, together: np.ndarray, places: np.ndarray, sides: np.ndarray, wanted: list[int]
) -> None:
    """Move parts until each class is on each side; the one whose number is nearest to that side goes first."""
    for label in range(len(given.classes)):
        parts = np.unique(together[given.labels == label])
        parts = parts if TEST in wanted else parts[sides[parts] != TEST]
        parts = parts[np.argsort(places[parts], kind="stable")]
        for side in (each for each in wanted if not (sides[parts] == each).any()):
            # Test has the lowest numbers, train the highest.
            ordered = parts if side != TRAIN else parts[::-1]
            part = next(
                (each for each in ordered if _may_leave(given, together, sides, each)), None
            )
            if part is None:
                raise BadInput(
                    f"class {given.classes[label]!r} can't be divided, {_purposes(wanted)}, as too many of its"
                    " pictures are of one group or like those of other classes; expected more: add images of it"
                )
            sides[part] = side


def _may_leave(given: Undivided, together: np.ndarray, sides: np.ndarray, part: int) -> bool:
    """True if others of each class of a part are on its side."""
    beside = np.unique(given.labels[(sides[together] == sides[part]) & (together != part)])
    return bool(np.isin(given.labels[together == part], beside).all())
