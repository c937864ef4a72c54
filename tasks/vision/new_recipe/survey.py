"""A survey of a person's folders of pictures: classes, counts, sizes; nothing is decoded."""

from __future__ import annotations

import io
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from statistics import median

from PIL import Image

from tasks.vision.data.image_folder import Classes, find_layout
from tasks.vision.data.missing_split import SPLITS
from tasks.vision.errors import BadInput
from tasks.vision.files.containers import ImageTree, open_container
from tasks.vision.files.image_files import is_image
from tasks.vision.files.left_out import LeftOut
from tasks.vision.text import printable

SAMPLE = 200  # pictures whose size is read
# No others: Pillow starts programs for some.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
SMALL_CLASS = 20  # training pictures of a class; with fewer, a person is warned


@dataclass(frozen=True)
class Survey:
    """Number of pictures by class in each split, and how large they are.

    Attributes:
        train, test, validation: class -> number of pictures; validation is empty if none are set apart.
        side: median of the shorter sides, in pixels; pictures are cropped to squares.
        unread: suffix -> number of photos of a format that can't be read; train and test leave them out.
        left_out: files that are no images, and what is beside train and test.
        folder: of the validation pictures, or "".
        damaged: names of pictures, of those whose size was read, that aren't what their names say.
    """

    train: dict[str, int]
    test: dict[str, int]
    side: int
    unread: dict[str, int] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    validation: dict[str, int] = field(default_factory=dict)
    folder: str = ""
    damaged: list[str] = field(default_factory=list)


def survey(path: Path, given: str = "") -> Survey:
    """Count the pictures in a folder or archive, and read the sizes of some from their headers.

    Raises:
        BadInput: it is not laid out as train/CLASS and test/CLASS, or holds no picture.
    """
    with closing(open_container(path, given)) as contents:
        layout = find_layout(contents, SPLITS)
        unread: Counter[str] = Counter()
        train, test = (_readable(contents, layout.root, layout.splits[s], unread) for s in SPLITS)
        names = [layout.root + name for label in train for name in train[label]]
        some = names[:: max(1, len(names) // SAMPLE)]
        looked = {some[i]: _shorter_side(file) for i, file in contents.read(some)}
        sides = [side for side in looked.values() if side]
        if not sides:
            raise BadInput(
                f"{contents.given}: none of {len(some)} files looked at is a picture; "
                "expected .png, .jpg or such"
            )
    folder = layout.validation
    inside = {
        label: sum(name.startswith(f"{folder}/") for name in names)
        for label, names in train.items()
    }
    validation = inside if folder else {}
    return Survey(
        {label: len(names) - validation.get(label, 0) for label, names in train.items()},
        _counts(test),
        int(median(sides)),
        dict(unread),
        layout.left_out,
        validation,
        folder,
        sorted(name for name, side in looked.items() if not side),
    )


def _readable(contents: ImageTree, root: str, classes: Classes, unread: Counter[str]) -> Classes:
    """Leave the photos of formats that can't be read out of a split's classes, and count them."""
    readable: Classes = {}
    for label, names in classes.items():
        readable[label] = []
        for name in names:
            kind = None if is_image(name) else contents.kind(root + name)
            if is_image(name) or (kind and not kind.fault):
                readable[label].append(name)
            else:
                unread[PurePosixPath(name).suffix.lower()] += 1
        if not readable[label]:
            folder, _, first = names[0].rpartition("/")
            raise BadInput(
                f"{contents.given} has no picture that can be read in {printable(folder)}, only such"
                f" as {printable(first)}; expected .png, .jpg or such: convert them to JPEG"
            )
    return readable


def _counts(files: dict[str, list[str]]) -> dict[str, int]:
    return {label: len(names) for label, names in files.items()}


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
