"""Folders, zip and tar files of images behind one interface, `Container`; nothing is unpacked to disk."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from tasks.vision.errors import BadInput
from tasks.vision.files.archives import not_utf8, refusing_damage
from tasks.vision.files.image_files import is_hidden, looks_like_image, read_file
from tasks.vision.files.left_out import is_junk
from tasks.vision.files.tar_files import Tar
from tasks.vision.files.zip_files import Zip
from tasks.vision.pictures.kinds import HEAD_BYTES, Kind, sniff
from tasks.vision.text import is_utf8, printable


class Listing(Protocol):
    """The names of files in folders; paths are relative and use "/"."""

    given: str

    def children(self, folder: str) -> tuple[list[str], list[str]]:
        """Names of the folders and the files in a folder ("" is the top), hidden ones left out."""

    def is_link_loop(self, path: str) -> bool:
        """True if a folder that `children` names is a link to itself or to a folder above it."""


class Container(Listing, Protocol):
    """Files of any origin that can be listed and read."""

    def reading_order(self, paths: Sequence[str]) -> list[int]:
        """Return the indices of `paths` in the order in which they are best read, all of them at once.

        It is empty where they may be read in any order, some at a time.
        """

    def read(self, paths: Sequence[str]) -> Iterator[tuple[int, bytes | str]]:
        """Yield each file's index in `paths` with its bytes, or why it can't be read; in any order."""

    def close(self) -> None:
        """Close open files."""


class Tree(Listing, Protocol):
    """The files below one folder, or in one archive, and what they seem to be.

    Attributes:
        cut: an archive without its end mark, so that some may be missing.
    """

    cut: bool

    def hidden_images(self, folder: str) -> dict[str, int]:
        """How many images the hidden files and folders in a folder hold, without known junk."""

    def junk(self, folder: str) -> list[str]:
        """Names of what systems and programs have left behind in a folder: files and folders."""

    def kind(self, path: str) -> Kind | None:
        """What a file that is not named like a readable image is by its first bytes."""


class ImageTree(Tree, Container, Protocol):
    """A tree whose files can be read."""


def open_container(path: Path, given: str = "", *, strict: bool = True) -> ImageTree:
    """Open a folder or an archive; `BadInput` if it is damaged or unsafe.

    A folder that isn't `strict` also lists names that aren't UTF-8 and link loops; reading them gives
    the reason why they can't be read.

    Args:
        given: its name in messages, such as the address that it was downloaded from; by default the path.
    """
    given = printable(given or path)
    if path.is_dir():
        return Folder(path, given, strict=strict)
    with refusing_damage(given):
        return Zip(path, given) if path.name.lower().endswith(".zip") else Tar(path, given)


class _Listed(NamedTuple):
    """Names in a folder; `hidden` are those that are hidden or junk."""

    folders: list[str]
    files: list[str]
    hidden: list[str]


class Folder:
    """A folder on disk; links are followed, since its owner may read their targets."""

    cut = False

    def __init__(self, path: Path, given: str, *, strict: bool = True) -> None:
        self.given = given
        self.path = self._path = os.fspath(path)
        self._strict = strict
        self._loops: set[str] = set()
        self._listed: dict[str, _Listed] = {}

    def children(self, folder: str) -> tuple[list[str], list[str]]:
        listed = self._list(folder)
        return list(listed.folders), list(listed.files)

    def _list(self, folder: str) -> _Listed:
        """List a folder once: large ones take long, and are asked for several times."""
        found = self._listed.get(folder)
        if found is None:
            found = self._listed[folder] = _Listed([], [], [])
            try:
                with os.scandir(Path(self._path, folder)) as entries:
                    for entry in entries:
                        name = entry.name
                        if is_hidden(name) or is_junk(name):
                            found.hidden.append(name)
                        if is_hidden(name):
                            continue
                        if self._strict and not is_utf8(name):
                            raise not_utf8(self._named(folder), name)
                        is_folder = self._is_folder(entry, folder)
                        (found.folders if is_folder else found.files).append(name)
            except OSError as error:
                raise BadInput(
                    f"{self._named(folder)} can't be listed ({error.strerror or error}); expected a folder that"
                    " you may read: change its permissions"
                ) from error
        return found

    def hidden_images(self, folder: str) -> dict[str, int]:
        found: Counter[str] = Counter()
        path = Path(self._path, folder)
        with suppress(OSError):
            for name in self._list(folder).hidden:
                if is_hidden(name) and not is_junk(name) and is_utf8(name):
                    below = (path / name).is_dir() and not (path / name).is_symlink()
                    names = _files_below(path / name) if below else [name]
                    found[name] += sum(map(looks_like_image, names))
        return {name: count for name, count in found.items() if count}

    def junk(self, folder: str) -> list[str]:
        return sorted(filter(is_junk, self._list(folder).hidden))

    def kind(self, path: str) -> Kind | None:
        try:
            file = Path(self._path, path)
            if not file.is_file():  # opening a pipe would block
                return None
            with file.open("rb", buffering=0) as opened:
                return sniff(opened.read(HEAD_BYTES))
        except OSError:
            return None

    def _named(self, path: str) -> str:
        return printable(f"{self.given}/{path}".rstrip("/"))

    def _is_folder(self, entry: os.DirEntry[str], folder: str) -> bool:
        try:
            return entry.is_dir()
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            path = f"{folder}/{entry.name}" if folder else entry.name
            if self._strict:
                raise link_loop(self._named(path)) from error
            self._loops.add(path)
            return True

    def is_link_loop(self, path: str) -> bool:
        if path not in self._loops and Path(self._path, path).is_symlink():
            parts = path.split("/")[:-1]
            above = [Path(self._path, *parts[:depth]).resolve() for depth in range(len(parts) + 1)]
            target = Path(self._path, path).resolve()
            if any(target in (folder, *folder.parents) for folder in above):
                self._loops.add(path)
        return path in self._loops

    def reading_order(self, paths: Sequence[str]) -> list[int]:
        return []

    def read(self, paths: Sequence[str]) -> Iterator[tuple[int, bytes | str]]:
        for index, path in enumerate(paths):
            if path in self._loops:
                yield index, "a link to itself or to a folder that it is in; remove the link"
            elif self._strict or is_utf8(path):
                yield index, read_file(f"{self._path}/{path}")
            else:
                yield index, "its name is not UTF-8; rename it"

    def states(self, paths: Sequence[str]) -> np.ndarray:
        """What changes when a file is written to: size, two times and inode, (n, 4) int64; 0 if it is gone."""
        found = np.zeros((len(paths), 4), np.int64)
        for row, path in enumerate(paths):
            with suppress(OSError):
                status = os.stat(f"{self._path}/{path}")  # noqa: PTH116 (fast)
                inode = status.st_ino & (2**63 - 1)
                found[row] = status.st_size, status.st_mtime_ns, status.st_ctime_ns, inode
        return found

    def close(self) -> None:
        pass


def _files_below(folder: Path) -> Iterator[str]:
    """Names of the files in a folder and below, without those in folders of junk."""
    for _, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not is_junk(name)]
        yield from files


def link_loop(path: str) -> BadInput:
    """The error for a link to itself or to a folder above it."""
    return BadInput(
        f"{printable(path)} is a link to itself or to a folder that it is in; expected a file or a folder:"
        " remove the link"
    )
