"""A survey of a person's folders of pictures: classes, counts, sizes; nothing is decoded."""

from __future__ import annotations

import io
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from statistics import median

from PIL import Image

from tasks.vision.data.containers import Container, open_container
from tasks.vision.data.image_files import is_image
from tasks.vision.data.image_folder import (
    LAYOUT,
    SPLITS,
    check_same_classes,
    find_classes,
    find_root,
    suggest_rename,
)
from tasks.vision.errors import BadInput
from tasks.vision.text import printable

SAMPLE = 200  # pictures whose size is read
FORMATS = (
    "PNG",
    "JPEG",
    "WEBP",
    "GIF",
    "BMP",
    "TIFF",
)  # no others: Pillow starts programs for some
SMALL_CLASS = 20  # training pictures of a class; with fewer, a person is warned


@dataclass(frozen=True)
class Survey:
    """Number of pictures by class in train and test, and how large they are.

    Attributes:
        train, test: class -> number of pictures.
        side: median of the shorter sides, in pixels; pictures are cropped to squares.
        unread: suffix -> number of photos of a format that can't be read; train and test leave them out.
    """

    train: dict[str, int]
    test: dict[str, int]
    side: int
    unread: dict[str, int] = field(default_factory=dict)


def survey(path: Path) -> Survey:
    """Count the pictures in a folder or archive, and read the sizes of some from their headers.

    Raises:
        BadInput: it is not laid out as train/CLASS and test/CLASS, or holds no picture.
    """
    with closing(open_container(path)) as contents:
        _check_splits(contents)
        root = find_root(contents, SPLITS)
        train, test = (find_classes(contents, root, split) for split in SPLITS)
        check_same_classes(contents.given, train, test)
        every = [name for split in (train, test) for files in split.values() for name in files]
        unread = Counter(PurePosixPath(name).suffix.lower() for name in every if not is_image(name))
        train, test = (
            _readable(contents, name, split)
            for name, split in zip(SPLITS, (train, test), strict=True)
        )
        names = [f"{root}train/{label}/{name}" for label in train for name in train[label]]
        some = names[:: max(1, len(names) // SAMPLE)]
        sides = [side for _, file in contents.read(some) if (side := _shorter_side(file))]
        if not sides:
            raise BadInput(
                f"{contents.given}: none of {len(some)} files looked at is a picture; "
                "expected .png, .jpg or such"
            )
    return Survey(_counts(train), _counts(test), int(median(sides)), dict(unread))


def _readable(
    contents: Container, split: str, classes: dict[str, list[str]]
) -> dict[str, list[str]]:
    """Leave the photos of formats that can't be read out of a split's classes."""
    readable = {label: list(filter(is_image, names)) for label, names in classes.items()}
    if empty := [label for label, names in readable.items() if not names]:
        folder = f"{split}/{empty[0]}"
        raise BadInput(
            f"{contents.given} has no picture that can be read in {printable(folder)}, only such as "
            f"{printable(classes[empty[0]][0])}; expected .png, .jpg or such: convert them to JPEG"
        )
    return readable


def _counts(files: dict[str, list[str]]) -> dict[str, int]:
    return {label: len(names) for label, names in files.items()}


def _check_splits(contents: Container) -> None:
    folders, _ = contents.children("")
    there = set(folders)
    if not there & set(SPLITS):
        below = {name for folder in folders for name in contents.children(folder)[0]}
        there = below if below & set(SPLITS) else there | below
    if missing := [split for split in SPLITS if split not in there]:
        hints = [hint for split in missing if (hint := suggest_rename(split, sorted(there)))]
        hint = "; ".join(hints) or (
            "move about a fifth of each class's pictures into test/<class> and the others into train/<class>"
        )
        raise BadInput(
            f"{contents.given} has no folder {' and no folder '.join(missing)}; expected {LAYOUT}: {hint}"
        )


def _shorter_side(file: bytes | str) -> int | None:
    if isinstance(file, str):  # an error instead of bytes; the run will report it
        return None
    try:
        with Image.open(io.BytesIO(file), formats=FORMATS) as image:
            return min(image.size)
    except Exception:  # Pillow's readers raise nearly anything on damaged bytes
        return None


def small_classes(found: Survey) -> dict[str, int]:
    """Return the classes with fewer than SMALL_CLASS training pictures, and their number."""
    return {label: count for label, count in found.train.items() if count < SMALL_CLASS}
