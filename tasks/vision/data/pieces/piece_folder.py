"""Pieces in a temporary folder, for images that are used once."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import weakref
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from tasks.vision.data.pieces.new_piece import unwritable
from tasks.vision.data.pieces.pieces import Piece, PieceFile
from tasks.vision.data.shards.shards import Shard


class PieceFolder:
    """A `PieceStore` that goes with the last object that uses it.

    Raises:
        BadInput: there can be no such folder.
    """

    def __init__(self) -> None:
        self._folder = temporary_folder(self)

    def find(self, key: str, image_size: int) -> Piece | None:
        """Return None: nothing is looked up."""
        return None

    def claim(self, key: str, *, wait: bool) -> AbstractContextManager[bool]:
        """Let everyone in: no other process knows the folder."""
        return nullcontext(True)

    def publish_shard(self, path: Path, count: int) -> Shard:
        """As of a `PieceStore`."""
        file, size = self._moved(path)
        return Shard(file=file, size=size, count=count)

    def publish_piece(self, key: str, path: Path, shard: Shard) -> PieceFile:
        """As of a `PieceStore`."""
        file, size = _hashed(path)
        return PieceFile(file=file, size=size)

    def shard_path(self, shard: Shard) -> Path:
        """As of a `PieceStore`."""
        return self._folder / shard.file

    def finish(self) -> None:
        """Do nothing."""

    def _moved(self, path: Path) -> tuple[str, int]:
        file, size = _hashed(path)
        path.replace(self._folder / file)
        return file, size


def temporary_folder(owner: object) -> Path:
    """Make a folder that goes with an object; `BadInput` if there can be none."""
    try:
        folder = tempfile.mkdtemp(prefix="relevo-")
    except OSError as error:
        raise unwritable(Path(tempfile.gettempdir()), error) from None
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _hashed(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size
