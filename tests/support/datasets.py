"""Prepared data sets in a plain folder, where a test needs no store."""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np

from tasks.cache.pieces import StoredPieces
from tasks.store.base import Ref, Store, sha256_of
from tasks.vision.data.dataset import Dataset, Description, open_dataset
from tasks.vision.data.labelled import ImageSet, Split
from tasks.vision.data.pieces.pieces import Piece, PieceFile
from tasks.vision.data.prepare import Prepared, prepare
from tasks.vision.data.shards.shards import Shard
from tasks.vision.recipe.data import Data


class PiecesBeside:
    """Stores shards in a plain folder, by hash."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, key: str, image_size: int) -> Piece | None:
        return None

    def claim(self, key: str, *, wait: bool) -> AbstractContextManager[bool]:
        return nullcontext(True)

    def publish_shard(self, path: Path, count: int) -> Shard:
        sha256, size = sha256_of(path)
        shutil.copy(path, self._folder / sha256)
        return Shard(file=sha256, size=size, count=count)

    def publish_piece(self, key: str, path: Path, shard: Shard) -> PieceFile:
        sha256, size = sha256_of(path)
        return PieceFile(file=sha256, size=size)

    def shard_path(self, shard: Shard) -> Path:
        return self._folder / shard.file

    def finish(self) -> None:
        pass


def prepare_in_folder(
    found: ImageSet,
    size: int,
    validation: float,
    path: Path,
    test: float = 0.2,
    window_gb: float = 2.0,
) -> Description:
    """Prepare images of `size` pixels per side; `path` becomes the index, shards are beside it by hash."""
    return prepared_in_folder(found, size, validation, path, test, window_gb).about


def prepared_in_folder(
    found: ImageSet,
    size: int,
    validation: float,
    path: Path,
    test: float = 0.2,
    window_gb: float = 2.0,
) -> Prepared:
    """As `prepare_in_folder`, with the digest."""
    # Images of some tests are smaller than a recipe may ask for.
    data = Data.model_construct(
        source="", image_size=size, validation=validation, test=test, window_gb=window_gb
    )
    for piece in found.pieces:
        assert found.store
        shutil.copy(found.store.shard_path(piece.shard), path.parent / piece.shard.file)
    return prepare(found, data, path, PiecesBeside(path.parent))


def prepare_in_store(
    images: np.ndarray, labels: np.ndarray, store: Store, folder: Path, window_gb: float = 2.0
) -> Ref:
    """Prepare images (n, size, size, 3) uint8 for train and again for test, of two classes or more."""
    split = Split(images, labels.astype(np.int32), [f"{row}.png" for row in range(len(labels))])
    classes = [f"c{label}" for label in range(labels.max() + 1)]
    found = ImageSet(classes, {"train": split, "test": split}, [])
    data = Data.model_construct(
        source="", image_size=images.shape[1], validation=0.2, test=0.2, window_gb=window_gb
    )
    index = folder / "index"
    pieces = StoredPieces(store, {})
    prepared = prepare(found, data, index, pieces)
    pieces.finish()
    return store.put("dataset", index, ".safetensors", digest=prepared.digest)


def open_in_folder(path: Path) -> Dataset:
    """Open a data set that `prepare_in_folder` prepared."""
    return open_dataset(path, lambda shard: path.parent / shard.file)
