"""Names of splits: relevo's own, and those that people give to folders and in tables."""

from __future__ import annotations

from typing import Literal

SplitName = Literal["train", "validation", "test"]
SPLITS = ("train", "test")  # as a data set is stored; validation images are among those of train
VALID = "valid"  # on the command line
LAYOUT = "train/<class>/<image> and test/<class>/<image>"

NAMES: dict[SplitName, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("val", VALID, "validation", "dev", "eval"),
    "test": ("test", "testing"),
}
_SPLITS = {name: split for split, names in NAMES.items() for name in names}


def split_of(name: str) -> SplitName | None:
    """The split that a folder or a value of a table is called after, in capitals or not; None for others.

    >>> split_of("Val"), split_of("valley")
    ('validation', None)
    """
    return _SPLITS.get(name.lower())


def is_validation(name: str) -> bool:
    """True for the usual names of a folder of validation images."""
    return split_of(name) == "validation"
