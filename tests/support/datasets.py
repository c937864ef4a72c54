"""Prepared data sets in a plain folder, where a test needs no store."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import numpy as np

from tasks.io.load import publish_shard
from tasks.store.base import Ref, Store, sha256_of
from tasks.vision.data.dataset import Dataset, Description, open_dataset
from tasks.vision.data.labelled import ImageSet, Split
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
    prepare(found, data, index, partial(publish_shard, store))
    return store.put("dataset", index, ".safetensors")


def open_in_folder(path: Path) -> Dataset:
    """Open a data set that `prepare_in_folder` prepared."""
    return open_dataset(path, lambda shard: path.parent / shard.file)
