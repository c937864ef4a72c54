"""Result types of `relevo check`, which are stored as JSON."""

from __future__ import annotations

from typing import Literal

from tasks.vision.recipe.schema import Strict

Flaw = Literal["blank", "dark", "blurred"]
Kind = Literal[
    "suspicious label",
    "duplicate",
    "near duplicate",
    "damaged",
    "odd",
    Flaw,
    "small",
    "long",
]
Basis = Literal["out of fold", "held out"]


class Flawed(Strict):
    """Images with a flaw, the worst first: rows among all images, and the measure of each."""

    kind: Flaw
    rows: tuple[int, ...]
    values: tuple[float, ...]


class Group(Strict):
    """Rows of images that are duplicates of each other; `same` if their pixels are equal."""

    rows: tuple[int, ...]
    same: bool


class ImageFindings(Strict):
    """What is wrong with the images of a data set themselves."""

    flawed: tuple[Flawed, ...]
    duplicates: tuple[Group, ...]


class SuspiciousLabel(Strict):
    """An image whose label is not the most probable one.

    Attributes:
        given: its label. likely: the most probable one. score: probability of the given label.
        probability: of the likely one.
    """

    row: int
    given: str
    likely: str
    score: float
    probability: float


class LabelFindings(Strict):
    """Labels that may be wrong, the most suspicious first.

    Attributes:
        wrong: about how many of them are wrong, by confident learning.
        basis: "out of fold", by heads that saw other images; or "held out", by a model that has not been
            trained on the images of validation and test, which alone are judged.
        judged: how many images were judged. too_small: classes with too few images for that.
    """

    basis: Basis
    judged: int
    suspicious: tuple[SuspiciousLabel, ...] = ()
    wrong: int = 0
    too_small: tuple[str, ...] = ()


class FileSize(Strict):
    """A picture file's name, and its width and height in pixels."""

    name: str
    width: int
    height: int


class FileFindings(Strict):
    """Formats, modes and sizes of the picture files, as their headers say.

    Attributes:
        formats, modes: how many files have each, the most frequent first.
        sides: smallest, median and largest of the shorter sides, in pixels.
        smaller: how many files have a shorter side below the prepared images' size, and are enlarged.
        small: those with less than half of it. long: those more than twice as long as wide.
    """

    files: int
    formats: dict[str, int]
    modes: dict[str, int]
    sides: tuple[int, int, int]
    smaller: int
    small: tuple[FileSize, ...]
    long: tuple[FileSize, ...]


class FewImages(Strict):
    """A class with few training images, beside the number of the largest class."""

    label: str
    images: int
    largest: int


class Finding(Strict):
    """One picture with something to look at.

    Attributes:
        row: among all images; None if it could not be read.
        value: its measure, or the probability of its label.
        note: why it can't be read, its size, or the label that it probably has.
        group: number of the group of duplicates that it is in, from 1.
    """

    kind: Kind
    file: str
    split: str = ""
    label: str = ""
    value: float | None = None
    note: str = ""
    group: int | None = None
    row: int | None = None
