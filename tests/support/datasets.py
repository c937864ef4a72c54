"""Prepared data sets in a plain folder, where a test needs no store."""

from __future__ import annotations

import shutil
from pathlib import Path

from tasks.store.base import sha256_of
from tasks.vision.data.dataset import Dataset, Description, open_dataset
from tasks.vision.data.labelled import ImageSet
from tasks.vision.data.prepare import prepare
from tasks.vision.recipe.data import Data


def prepare_in_folder(
    found: ImageSet,
    size: int,
    validation: float,
    path: Path,
    test: float = 0.2,
    window_gb: float = 2.0,
) -> Description:
    """Prepare images of `size` pixels per side; `path` becomes the index, shards are beside it by hash."""
    # Images of some tests are smaller than a recipe may ask for.
    data = Data.model_construct(
        source="", image_size=size, validation=validation, test=test, window_gb=window_gb
    )

    def publish(shard: Path) -> tuple[str, int]:
        sha256, length = sha256_of(shard)
        shutil.copy(shard, path.parent / sha256)
        return sha256, length

    return prepare(found, data, path, publish)


def open_in_folder(path: Path) -> Dataset:
    """Open a data set that `prepare_in_folder` prepared."""
    return open_dataset(path, lambda shard: path.parent / shard.file)
