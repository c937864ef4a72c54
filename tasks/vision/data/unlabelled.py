"""Images to predict, in batches: files, folders and archives of any layout."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from tasks.vision.data.layouts.image_folder import select_images
from tasks.vision.errors import BadInput
from tasks.vision.files.archives import ARCHIVE_SUFFIXES
from tasks.vision.files.containers import ImageTree, open_container
from tasks.vision.files.image_files import read_file
from tasks.vision.files.left_out import Tally, is_junk
from tasks.vision.pictures.decode_pool import Decoders
from tasks.vision.pictures.fit import CROP, Fit
from tasks.vision.text import is_utf8, printable

BATCH = 2000  # small images; a multiple of the network's own batch size
BATCH_BYTES = 64 * 2**20  # of pixels, for large images


# Of a path, what is there, and the names of its images: the names of those that are wanted.
Select = Callable[[Path, object, list[str]], list[str]]


@dataclass(frozen=True)
class ImageBatch:
    """Names and (n, size, size, 3) uint8 pixels of decoded images; {name: reason} of the others."""

    names: list[str]
    images: np.ndarray
    unreadable: dict[str, str]


class UnlabelledImages:
    """All images in `given`, in the order of the arguments, sorted in each; a context manager.

    Args:
        select: returns those of the images to take, of a given path and their names in it; by default all.

    Attributes:
        left_out: files that are no images, and hidden ones.

    Raises:
        BadInput: a path doesn't exist or holds no image; before anything is decoded.
    """

    def __init__(self, given: Sequence[str], select: Select | None = None) -> None:
        self._found: list[_Found] = []
        tally = Tally()
        with ExitStack() as stack:
            for path in map(_find, given):
                container = _open(path)
                stack.callback(container.close)
                names = [""] if isinstance(container, _File) else [*_names(container, tally)]
                if not names:
                    raise BadInput(
                        f"{printable(path)} holds no image; expected .png, .jpg or another format"
                    )
                if select:
                    names = select(path, container, names)
                self._found += [_Found(path, container, name) for name in names]
            self._open = stack.pop_all()
        self.left_out = tally.most_common()

    def __len__(self) -> int:
        return len(self._found)

    def batches(
        self, image_size: int, bits: int = 16, fit: Fit = CROP
    ) -> Generator[ImageBatch, None, None]:
        """Decode to squares of `image_size` pixels, in batches of `batch_size`; the others as for `decode`."""
        most = batch_size(image_size)
        with Decoders(len(self)) as decoders:
            for start in range(0, len(self), most):
                found = self._found[start : start + most]
                yield _batch(decoders, found, image_size, bits, fit)

    def close(self) -> None:
        """Close open archives."""
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Found(NamedTuple):
    """One image: the given path, the container behind it, and the image's name in it."""

    given: Path
    container: ImageTree | _File
    name: str

    @property
    def title(self) -> str:
        return str(self.given / self.name) if self.name else str(self.given)


def batch_size(image_size: int) -> int:
    """Images in a batch: fewer if they are large."""
    return min(BATCH, max(1, BATCH_BYTES // (3 * image_size**2)))


def _batch(
    decoders: Decoders, found: list[_Found], image_size: int, bits: int, fit: Fit
) -> ImageBatch:
    images = np.empty((len(found), image_size, image_size, 3), np.uint8)
    failed = decoders.decode(_files(found), images, bits, fit).failed
    good = [row for row in range(len(found)) if row not in failed]
    unreadable = {found[row].title: failed[row] for row in sorted(failed)}
    return ImageBatch(
        [found[row].title for row in good], images[good] if failed else images, unreadable
    )


def _files(found: list[_Found]) -> Iterator[tuple[int, bytes | str]]:
    """Row and bytes of each, read container by container."""
    before = 0
    for container, group in groupby(found, key=attrgetter("container")):
        names = [each.name for each in group]
        for index, data in container.read(names):
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
        f"{printable(given)} isn't there; expected an image, or a folder or archive of them: "
        "check the spelling"
    )


def _open(path: Path) -> ImageTree | _File:
    archive = path.name.lower().endswith(ARCHIVE_SUFFIXES)
    return open_container(path, strict=False) if archive or path.is_dir() else _File(path)


def _names(container: ImageTree, tally: Tally, folder: str = "") -> Iterator[str]:
    """Paths of the images in a folder ("" is the top, others end in a slash) and below it."""
    folders, files = container.children(folder.rstrip("/"))
    for name in select_images(container, folder, files, tally):
        yield folder + name
    for name, count in container.hidden_images(folder.rstrip("/")).items():
        tally.add("hidden", folder or "/", folder + name, count)
    for name in sorted(name for name in folders if not is_junk(name)):
        path = folder + name
        if is_utf8(name) and not container.is_link_loop(path):
            yield from _names(container, tally, f"{path}/")
        else:
            yield path  # reading it gives the reason


class _File:
    """A single image, named ""."""

    def __init__(self, path: Path) -> None:
        self.given = printable(path)
        self._path = path

    def read(self, paths: Sequence[str]) -> Iterator[tuple[int, bytes | str]]:
        for index in range(len(paths)):
            yield index, read_file(str(self._path))

    def close(self) -> None:
        pass
