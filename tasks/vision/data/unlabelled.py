"""Images to predict: files, folders and archives of any layout, a batch at a time."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from tasks.vision.data.archives import ARCHIVE_SUFFIXES
from tasks.vision.data.containers import Container, open_container
from tasks.vision.data.decode_pool import Decoders
from tasks.vision.data.image_files import read_file, select_images
from tasks.vision.errors import BadInput
from tasks.vision.text import is_utf8, printable

BATCH = 2000  # pictures, where they are small; a multiple of what the network takes at once
BATCH_BYTES = 64 * 2**20  # of pixels, where they are large


@dataclass(frozen=True)
class Batch:
    """Names and (n, size, size, 3) uint8 of what could be decoded; of the rest, name and reason."""

    names: list[str]
    images: np.ndarray
    unreadable: dict[str, str]


class UnlabelledImages:
    """Every picture in `given`, in the order of the arguments and of the names in each; close it.

    Raises:
        BadInput: nothing is there, or it holds no picture; before anything is decoded.
    """

    def __init__(self, given: Sequence[str]) -> None:
        self._found: list[_Found] = []
        with ExitStack() as stack:
            for place in map(_find, given):
                contents = _open(place)
                stack.callback(contents.close)
                names = list(_names(contents))
                if not names:
                    raise BadInput(
                        f"{printable(place)} holds no picture; expected .png, .jpg or such"
                    )
                self._found += [_Found(place, contents, name) for name in names]
            self._open = stack.pop_all()

    def __len__(self) -> int:
        return len(self._found)

    def batches(self, image_size: int) -> Generator[Batch, None, None]:
        """All pictures as squares of `image_size` pixels, in batches of `batch_size`."""
        most = batch_size(image_size)
        with Decoders(len(self)) as decoders:
            for start in range(0, len(self), most):
                yield _batch(decoders, self._found[start : start + most], image_size)

    def close(self) -> None:
        """Close the archives that are open."""
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Found(NamedTuple):
    """One picture: the place that was given, what is in it, and the picture's name there."""

    place: Path
    contents: Container
    name: str

    @property
    def title(self) -> str:
        return str(self.place / self.name) if self.name else str(self.place)


def batch_size(image_size: int) -> int:
    """How many pictures of so many pixels a side make a batch."""
    return min(BATCH, max(1, BATCH_BYTES // (3 * image_size**2)))


def _batch(decoders: Decoders, found: list[_Found], image_size: int) -> Batch:
    images = np.empty((len(found), image_size, image_size, 3), np.uint8)
    failed = decoders.decode(_files(found), images)
    kept = [row for row in range(len(found)) if row not in failed]
    unreadable = {found[row].title: failed[row] for row in sorted(failed)}
    return Batch([found[row].title for row in kept], images[kept] if failed else images, unreadable)


def _files(found: list[_Found]) -> Iterator[tuple[int, bytes | str]]:
    """Row and bytes of each, read place by place."""
    before = 0
    for contents, group in groupby(found, key=attrgetter("contents")):
        names = [each.name for each in group]
        for index, data in contents.read(names):
            yield before + index, data
        before += len(names)


def _find(given: str) -> Path:
    try:
        path = Path(given).expanduser()
        if given and path.exists():
            return path
    except (OSError, ValueError, RuntimeError):  # too long, a null byte, an unknown home
        pass
    raise BadInput(
        f"{printable(given)} isn't there; expected a picture, or a folder or archive of them: "
        "check the spelling"
    )


def _open(path: Path) -> Container:
    archive = path.name.lower().endswith(ARCHIVE_SUFFIXES)
    return open_container(path, strict=False) if archive or path.is_dir() else _File(path)


def _names(contents: Container, folder: str = "") -> Iterator[str]:
    if isinstance(contents, _File):
        yield ""
        return
    folders, files = contents.children(folder)
    for name in select_images(files):
        yield f"{folder}/{name}" if folder else name
    for name in sorted(folders):
        path = f"{folder}/{name}" if folder else name
        if is_utf8(name) and not contents.is_link_loop(path):
            yield from _names(contents, path)
        else:
            yield path  # can't be read, so that it is named


class _File:
    """One picture as if it were a folder of one."""

    def __init__(self, path: Path) -> None:
        self.given = printable(path)
        self._path = path

    def children(self, folder: str) -> tuple[list[str], list[str]]:
        return [], [""]

    def is_link_loop(self, path: str) -> bool:
        return False

    def read(self, paths: Sequence[str]) -> Iterator[tuple[int, bytes | str]]:
        for index in range(len(paths)):
            yield index, read_file(str(self._path))

    def close(self) -> None:
        """Nothing is open."""
