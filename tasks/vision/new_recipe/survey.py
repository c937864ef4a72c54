"""A survey of a person's folders of pictures: classes, counts, sizes; nothing is decoded."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from statistics import median

from tasks.vision.data.layouts.layout import LabelledFile, Layout
from tasks.vision.data.sources import Source, opened
from tasks.vision.errors import BadInput
from tasks.vision.files.containers import ImageTree
from tasks.vision.files.image_files import is_image
from tasks.vision.files.left_out import LeftOut
from tasks.vision.pictures.readers import read_header
from tasks.vision.recipe.data import TEST_SHARE
from tasks.vision.text import printable

SAMPLE = 200  # pictures whose size is read
SMALL_CLASS = 20  # training pictures of a class; with fewer, a person is warned


@dataclass(frozen=True)
class Survey:
    """Number of pictures by class in each split, and how large they are.

    Attributes:
        train, test, validation: class -> number of pictures; validation is empty if none are set apart.
        side: median of the shorter sides, in pixels; pictures are cropped to squares.
        unread: suffix -> number of photos of a format that can't be read; train and test leave them out.
        left_out: files that are no images, what is beside the pictures, and what systems leave behind.
        folder: that has the validation pictures, or the table, or "".
        damaged: names of pictures, of those whose size was read, that aren't what their names say.
        layout: in a few words.
        test_share: of each class that is set aside for test; None if the data has its own. `test` has about
            as many then.
        groups: how many groups of pictures stay together.
    """

    train: dict[str, int]
    test: dict[str, int]
    side: int
    unread: dict[str, int] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    validation: dict[str, int] = field(default_factory=dict)
    folder: str = ""
    damaged: list[str] = field(default_factory=list)
    layout: str = "train/, test/"
    test_share: float | None = None
    groups: int = 0

    @property
    def pictures(self) -> dict[str, int]:
        """Class -> number of pictures in all splits."""
        splits = (self.train, self.validation, self.test)
        return {label: sum(split.get(label, 0) for split in splits) for label in self.train}


def survey(source: Source) -> Survey:
    """Count the pictures of a folder, archive or table, and read the sizes of some from their headers.

    Raises:
        BadInput: its layout is none that can be trained from, or it holds no picture.
    """
    with opened(source) as (contents, layout):
        files, unread = _readable(contents, layout)
        names = [layout.place.root + file.path for file in files if file.split != "test"]
        some = names[:: max(1, len(names) // SAMPLE)]
        headers = {some[i]: read_header(file) for i, file in contents.read(some)}
        sides = [min(each.width, each.height) for each in headers.values() if each]
        if not sides:
            raise BadInput(
                f"{contents.given}: none of {len(some)} files looked at is a picture; "
                "expected .png, .jpg or such"
            )
    counts = {
        split: _counts(layout.classes, files, split)
        for split in ("train", "validation", "test", None)
    }
    train, test = counts["train"], counts["test"]
    made = "test" not in layout.splits
    if made:
        whole = {label: count + counts[None][label] for label, count in train.items()}
        test = {label: max(1, round(count * TEST_SHARE)) for label, count in whole.items()}
        train = {label: count - test[label] for label, count in whole.items()}
    return Survey(
        train,
        test,
        int(median(sides)),
        dict(unread),
        [*layout.left_out, *layout.junk],
        counts["validation"] if layout.validation else {},
        layout.validation,
        sorted(name for name, header in headers.items() if not header),
        layout.described(),
        TEST_SHARE if made else None,
        len({file.group for file in files} - {""}),
    )


def _counts(classes: list[str], files: list[LabelledFile], split: str | None) -> dict[str, int]:
    found = Counter(file.label for file in files if file.split == split)
    return {label: found[label] for label in classes}


def _readable(contents: ImageTree, layout: Layout) -> tuple[list[LabelledFile], Counter[str]]:
    """Leave out the photos of formats that can't be read, and count them by suffix."""
    files: list[LabelledFile] = []
    unread: Counter[str] = Counter()
    for file in layout.files:
        kind = None if is_image(file.path) else contents.kind(layout.place.root + file.path)
        if is_image(file.path) or (kind and not kind.fault):
            files.append(file)
        else:
            unread[PurePosixPath(file.path).suffix.lower()] += 1
    there = {(file.label, file.split) for file in files}
    if missing := [each for each in layout.files if (each.label, each.split) not in there]:
        folder, _, first = missing[0].path.rpartition("/")
        raise BadInput(
            f"{contents.given} has no picture that can be read in {printable(folder)}, only such"
            f" as {printable(first)}; expected .png, .jpg or such: convert them to JPEG"
        )
    return files, unread


def small_classes(found: Survey) -> dict[str, int]:
    """Return the classes with fewer than SMALL_CLASS training pictures, and their number."""
    return {label: count for label, count in found.train.items() if count < SMALL_CLASS}
