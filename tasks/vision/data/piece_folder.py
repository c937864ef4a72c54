"""Pieces in a temporary folder, for images that are used once."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from tasks.vision.data.new_piece import unwritable
from tasks.vision.data.pieces import Piece, PieceFile
from tasks.vision.data.shards import Shard


class PieceFolder:
    """A `PieceStore` that goes with the last object that uses it.

    Raises:
        BadInput: there can be no such folder.
    """

    def __init__(self) -> None:
        try:
            self._folder = tempfile.TemporaryDirectory(prefix="relevo-")
        except OSError as error:
            raise unwritable(Path(tempfile.gettempdir()), error) from None

    def find(self, key: str, image_size: int) -> Piece | None:
        """Return None: nothing is looked up."""
        return None

    def publish_shard(self, path: Path, count: int) -> Shard:
        """As of a `PieceStore`."""
        file, size = self._moved(path)
        return Shard(file=file, size=size, count=count)

    def publish_piece(self, key: str, path: Path) -> PieceFile:
        """As of a `PieceStore`."""
        file, size = _hashed(path)
        return PieceFile(file=file, size=size)

    def shard_path(self, shard: Shard) -> Path:
        """As of a `PieceStore`."""
        return Path(self._folder.name) / shard.file

    def finish(self) -> None:
        """Do nothing."""

    def _moved(self, path: Path) -> tuple[str, int]:
        file, size = _hashed(path)
        path.replace(Path(self._folder.name) / file)
        return file, size


def _hashed(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size
