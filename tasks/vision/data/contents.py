"""What a source holds: its pictures and their hashes, taken once for its cache key and all that follows."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.vision.data.known_hashes import LEAST, KnownHashes
from tasks.vision.data.layouts.layout import Layout
from tasks.vision.data.pieces.picture_set import OnReuse, OnShare, Pictures, changed
from tasks.vision.data.pieces.pieces import DIGEST, Piece, PieceStore
from tasks.vision.errors import BadInput
from tasks.vision.files.containers import Container, Folder, ImageTree
from tasks.vision.files.image_files import content_hash, file_digest
from tasks.vision.text import printable

PART = 256  # files that a thread hashes at a time


class Contents:
    """What a source held when it was hashed; no dataclass, since Prefect would walk through its lists.

    Attributes:
        digest: SHA-256, 64 hex characters, of all that would be read; paths don't count.
        layout, hashes: the pictures of a folder and the `content_hash` of each, (n, 16) uint8; None for others.
    """

    def __init__(
        self,
        digest: str,
        layout: Layout | None = None,
        hashes: np.ndarray | None = None,
        known: KnownHashes | None = None,
    ) -> None:
        self.digest, self.layout, self.hashes, self._known = digest, layout, hashes, known

    def check_unchanged(self) -> None:
        """Raise `BadInput` if the source was written to meanwhile; files of a folder are checked one by one."""

    def pictures(self, container: ImageTree, layout: Layout, *, hashed: bool) -> Pictures:
        """Return the pictures of a layout with their identities.

        Args:
            hashed: whether the identities have to be hashes of the files, which reads all of an archive.
        """
        paths = [layout.place.root + file.path for file in layout.files]
        if self.hashes is not None:
            forget = self._known.forget if self._known else lambda: None
            return Pictures(container, paths, self.hashes, hashed=True, forget=forget)
        if hashed:
            return Pictures(container, paths, hashes_of(container, paths), hashed=True)
        named = [content_hash(f"{self.digest} {path}") for path in paths]
        return Pictures(container, paths, as_array(named), False, self.check_unchanged)


class ArchiveContents(Contents):
    """The contents of an archive, which is hashed as a whole."""

    def __init__(self, path: Path, given: str) -> None:
        self._path, self._given = path, given
        self._state = _state_of(path)
        super().__init__(file_digest(path))

    def check_unchanged(self) -> None:
        """Raise `BadInput` if the archive was written to since it was hashed."""
        if _state_of(self._path) != self._state:
            raise changed(self._given)


@dataclass(frozen=True)
class Reuse:
    """Where pictures are decoded to, and what was decoded before.

    Attributes:
        contents: of the source that is read. store, earlier, on_reuse, on_share: as of `Decoding`.
    """

    contents: Contents
    store: PieceStore
    earlier: Sequence[Piece] = ()
    on_reuse: OnReuse = lambda reused, count: None
    on_share: OnShare = lambda pieces: None


def folder_contents(container: Container, layout: Layout) -> Contents:
    """Hash the pictures of a folder, and their paths."""
    files = layout.files
    paths = [layout.place.root + file.path for file in files]
    known = None
    if isinstance(container, Folder) and len(paths) >= LEAST:
        known = KnownHashes(container)
        hashes = _remembered(container, paths, known)
    else:
        hashes = hashes_of(container, paths)
    total = hashlib.sha256()
    ordered = sorted(range(len(files)), key=files.__getitem__)
    for row in ordered:
        total.update(files[row].path.encode() + b"\0" + hashes[row].tobytes())
    if layout.place.table:  # else the names say what it says
        total.update(json.dumps([files[row] for row in ordered]).encode())
    return Contents(total.hexdigest(), layout, hashes, known)


def _remembered(folder: Folder, paths: Sequence[str], known: KnownHashes) -> np.ndarray:
    """As `hashes_of`, but files that have not changed since the last time are not read."""
    began = time.time_ns()
    states = folder.states(paths)
    there, hashes = known.of(paths, states)
    new = np.flatnonzero(~there)
    hashes[new] = hashes_of(folder, [paths[row] for row in new.tolist()])
    if len(new):
        known.remember(paths, states, hashes, began)
    return hashes


def hashes_of(container: Container, paths: Sequence[str]) -> np.ndarray:
    """The `content_hash` of files, (n, 16) uint8; of one that can't be read, that of the reason."""
    if container.reading_order(paths):
        return _hashes(container, paths)
    starts = range(0, len(paths), PART)
    with ThreadPoolExecutor() as pool:
        parts = pool.map(lambda at: _hashes(container, paths[at : at + PART]), starts)
        return np.concatenate([np.empty((0, DIGEST), np.uint8), *parts])


def _hashes(container: Container, paths: Sequence[str]) -> np.ndarray:
    found = np.zeros((len(paths), DIGEST), np.uint8)
    for at, data in container.read(paths):
        found[at] = np.frombuffer(content_hash(data), np.uint8)
    return found


def as_array(hashes: list[bytes]) -> np.ndarray:
    """Return n hashes of 16 bytes as an array: (n, 16) uint8."""
    return np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, DIGEST)


def _state_of(path: Path) -> tuple[int, ...]:
    """What changes when a file is written to; `BadInput` if it can't be read."""
    try:
        status = path.stat()
    except OSError as error:
        raise BadInput(
            f"{printable(path)} can't be read ({error.strerror or error}); expected a whole file"
        ) from error
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
