"""Folders, zip and tar files of images behind one interface, `Container`; nothing is unpacked to disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from tasks.vision.data.archives import Tar, Zip, refusing_damage
from tasks.vision.data.image_files import is_hidden, read_file
from tasks.vision.errors import BadInput
from tasks.vision.text import check_utf8, is_utf8, printable


class Container(Protocol):
    """The files below one folder, or in one archive; paths are relative and use "/"."""

    given: str

    def children(self, folder: str) -> tuple[list[str], list[str]]:
        """Names of the folders and the files in a folder ("" is the top), hidden ones left out."""

    def is_link_loop(self, path: str) -> bool:
        """True if a folder that `children` names is a link to itself or to a folder above it."""

    def read(self, paths: Sequence[str]) -> Iterator[tuple[int, bytes | str]]:
        """Yield each file's index in `paths` with its bytes, or why it can't be read; in any order."""

    def close(self) -> None:
        """Close open files."""


def open_container(path: Path, *, strict: bool = True) -> Container:
    """Open a folder or an archive; `BadInput` if it is damaged or unsafe.

    A folder that isn't `strict` also lists names that aren't UTF-8 and link loops; reading them gives
    the reason why they can't be read.
    """
    if path.is_dir():
        return Folder(path, strict=strict)
    with refusing_damage(printable(path)):
        return Zip(path) if path.name.lower().endswith(".zip") else Tar(path)


class Folder:
    """A folder on disk; links are followed, since its owner may read their targets."""

    def __init__(self, path: Path, *, strict: bool = True) -> None:
        self.given = printable(path)
        self._path = os.fspath(path)
        self._strict = strict
        self._loops: set[str] = set()

    def children(self, folder: str) -> tuple[list[str], list[str]]:
        folders: list[str] = []
        files: list[str] = []
        path = Path(self._path, folder)
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if not is_hidden(entry.name):
                        if self._strict:
                            check_utf8(printable(path), entry.name)
                        (folders if self._is_folder(entry, folder) else files).append(entry.name)
        except OSError as error:
            raise BadInput(
                f"{printable(path)} can't be listed ({error.strerror or error}); expected a folder that"
                " you may read: change its permissions"
            ) from error
        return folders, files

    def _is_folder(self, entry: os.DirEntry[str], folder: str) -> bool:
        try:
            return entry.is_dir()
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            if self._strict:
                raise link_loop(entry.path) from error
            self._loops.add(f"{folder}/{entry.name}" if folder else entry.name)
            return True

    def is_link_loop(self, path: str) -> bool:
        if path not in self._loops and Path(self._path, path).is_symlink():
            parts = path.split("/")[:-1]
            above = [Path(self._path, *parts[:depth]).resolve() for depth in range(len(parts) + 1)]
            target = Path(self._path, path).resolve()
            if any(target in (folder, *folder.parents) for folder in above):
                self._loops.add(path)
        return path in self._loops

    def read(self, paths: Sequence[str]) -> Iterator[tuple[int, bytes | str]]:
        for index, path in enumerate(paths):
            if path in self._loops:
                yield index, "a link to itself or to a folder that it is in; remove the link"
            elif self._strict or is_utf8(path):
                yield index, read_file(f"{self._path}/{path}")
            else:
                yield index, "its name is not UTF-8; rename it"

    def close(self) -> None:
        pass


def link_loop(path: str) -> BadInput:
    """The error for a link to itself or to a folder above it."""
    return BadInput(
        f"{printable(path)} is a link to itself or to a folder that it is in; expected a file or a folder:"
        " remove the link"
    )
