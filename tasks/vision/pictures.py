"""Pictures to predict: files, folders and archives of any layout, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.vision.archives import ARCHIVE_SUFFIXES
from tasks.vision.contents import Contents, open_contents
from tasks.vision.errors import BadInput
from tasks.vision.files import is_image, read_file, shown
from tasks.vision.workers import decode_all

BATCH = 4096  # pictures; at 32 pixels 12 MB


@dataclass(frozen=True)
class Batch:
    """Names and (n, size, size, 3) uint8 of what could be decoded; of the rest, name and reason."""

    names: list[str]
    images: np.ndarray
    unreadable: dict[str, str]


def read_pictures(given: Sequence[str], image_size: int) -> Iterator[Batch]:
    """Every picture in `given`, in the order of the arguments and of the names in each.

    Raises:
        BadInput: nothing is there, or it holds no picture; before anything is decoded.
    """
    places = [_find(each) for each in given]
    for place in places:
        with closing(_open(place)) as contents:
            names = list(_names(contents))
            if not names:
                raise BadInput(f"{shown(place)} holds no picture; expected .png, .jpg or such")
            for start in range(0, len(names), BATCH):
                yield _batch(contents, place, names[start : start + BATCH], image_size)


def _batch(contents: Contents, place: Path, names: list[str], image_size: int) -> Batch:
    images = np.empty((len(names), image_size, image_size, 3), np.uint8)
    failed = decode_all(contents.read(names), images)
    titles = [str(place / name) if name else str(place) for name in names]
    kept = [row for row in range(len(names)) if row not in failed]
    unreadable = {titles[row]: failed[row] for row in sorted(failed)}
    return Batch([titles[row] for row in kept], images[kept] if failed else images, unreadable)


def _find(given: str) -> Path:
    try:
        path = Path(given).expanduser()
        if given and path.exists():
            return path
    except (OSError, ValueError, RuntimeError):  # too long, a null byte, an unknown home
        pass
    raise BadInput(
        f"{shown(given)} isn't there; expected a picture, or a folder or archive of them: "
        "check the spelling"
    )


def _open(path: Path) -> Contents:
    archive = path.name.lower().endswith(ARCHIVE_SUFFIXES)
    return open_contents(path) if archive or path.is_dir() else _File(path)


def _names(contents: Contents, folder: str = "") -> Iterator[str]:
    if isinstance(contents, _File):
        yield ""
        return
    folders, files = contents.children(folder)
    for name in sorted(filter(is_image, files)):
        yield f"{folder}/{name}" if folder else name
    for name in sorted(folders):
        yield from _names(contents, f"{folder}/{name}" if folder else name)


class _File:
    """One picture as if it were a folder of one."""

    def __init__(self, path: Path) -> None:
        self.given = shown(path)
        self._path = path

    def children(self, folder: str) -> tuple[list[str], list[str]]:
        return [], [""]

    def read(self, paths: Sequence[str]) -> Iterator[tuple[int, bytes | str]]:
        for index in range(len(paths)):
            yield index, read_file(str(self._path))

    def close(self) -> None:
        """Nothing is open."""
