"""Files of bounded size with a data set's images, its shards: written one after the other, read row by row.

Rows are read from the files into the array that asks for them: a mapped file's pages would count as this
process's memory. Of the formats made for this, ArrayRecord (by Grain) reads records at random but has no
wheels for every platform that relevo runs on; webdataset and MosaicML Streaming shuffle as they stream, so
that an order that depends on (seed, epoch) alone, whatever the number of readers, would be ours to add.
Arrays of equal images need none of that: a safetensors file and the position of a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from pydantic import BaseModel, Field
from safetensors.numpy import save_file

from tasks.vision.data.images import Images
from tasks.vision.recipe.schema import Strict

SHARD_BYTES = 64 << 20  # of a shard's images, unless one image is larger
MAX_SHARD_HEADER = 4096  # bytes of a shard beside its images


class Shard(Strict):
    """A file with some of a data set's images.

    Attributes:
        file: SHA-256 of its bytes, by which it is found. size: in bytes. count: number of images.
    """

    file: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0)
    count: int = Field(ge=1)


def images_per_shard(side: int) -> int:
    """How many images of `side` pixels per side a shard holds."""
    return max(1, SHARD_BYTES // (side**2 * 3))


def write_shard(images: np.ndarray, path: Path) -> None:
    """Write images (n, size, size, 3) uint8 to the file of a shard."""
    save_file({"images": np.ascontiguousarray(images)}, path)


def write_shards(
    images: Images, folder: Path, publish: Callable[[Path, int], Shard]
) -> Iterator[Shard]:
    """Write images (n, size, size, 3) uint8 to files in `folder`, each removed once it is published."""
    most = images_per_shard(images.shape[1])
    for start in range(0, len(images), most):
        part, path = images[start : start + most], folder / "shard"
        write_shard(part, path)
        yield publish(path, len(part))
        path.unlink(missing_ok=True)


class TensorEntry(BaseModel):
    """Where a tensor is in a file, as safetensors writes it."""

    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]
