"""Files of bounded size with a data set's images, its shards: written one after the other, read row by row.

Rows are read from the files into the array that asks for them: a mapped file's pages would count as this
process's memory. Of the formats made for this, ArrayRecord (by Grain) reads records at random but has no
wheels for every platform that relevo runs on; webdataset and MosaicML Streaming shuffle as they stream, so
that an order that depends on (seed, epoch) alone, whatever the number of readers, would be ours to add.
Arrays of equal images need none of that: a safetensors file and the position of a row.
"""

from __future__ import annotations

import json
import math
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path

import numpy as np
from pydantic import BaseModel, Field
from safetensors.numpy import save_file

from tasks.vision.data.images import Images
from tasks.vision.errors import BadInput
from tasks.vision.recipe.schema import Strict

SHARD_BYTES = 64 << 20  # of a shard's images, unless one image is larger
MOST_OPEN = 64  # files of one split
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


class ShardFiles:
    """The files of some shards; those read last stay open. Several threads may read.

    Args:
        side: pixels per side of the images. locate: returns the path of a shard's file, and may fetch it.
    """

    def __init__(
        self, shards: tuple[Shard, ...], side: int, locate: Callable[[Shard], Path]
    ) -> None:
        self.shards, self.side, self._locate = shards, side, locate
        self._open: OrderedDict[int, tuple[FileIO, int]] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, number: int, first: int, out: np.ndarray) -> None:
        """Fill `out`, (m, side, side, 3) uint8, with the images of a shard from its row `first` on.

        Raises:
            BadInput: the file isn't the shard that the index names.
        """
        file, begin = self._file(number)
        view, offset = out.reshape(-1).data, begin + first * self.side**2 * 3
        while view:
            read = os.preadv(file.fileno(), [view], offset)
            if not read:
                raise self._unlike(self.shards[number])
            view, offset = view[read:], offset + read

    def _file(self, number: int) -> tuple[FileIO, int]:
        """An open file, and where its images begin; one that is dropped closes once nobody reads it."""
        with self._lock:
            if number not in self._open:
                self._open[number] = self._opened(self.shards[number])
                if len(self._open) > MOST_OPEN:
                    self._open.popitem(last=False)
            self._open.move_to_end(number)
            return self._open[number]

    def _opened(self, shard: Shard) -> tuple[FileIO, int]:
        path = self._locate(shard)
        try:
            file = FileIO(str(path), "r")
        except FileNotFoundError:  # another process made room in the cache of copies
            path = self._locate(shard)
            file = FileIO(str(path), "r")
        try:
            length = int.from_bytes(file.read(8), "little")
            images = _Header.model_validate(
                json.loads(file.read(min(length, MAX_SHARD_HEADER)))
            ).images
            shape, (first, end) = [shard.count, self.side, self.side, 3], images.data_offsets
            whole = (
                first == 0
                and end == math.prod(shape) == os.fstat(file.fileno()).st_size - 8 - length
            )
            if images.dtype != "U8" or images.shape != shape or not whole:
                raise ValueError("another file")
        except (ValueError, RecursionError):
            file.close()
            raise self._unlike(shard) from None
        return file, 8 + length

    @staticmethod
    def _unlike(shard: Shard) -> BadInput:
        return BadInput(
            f"shard {shard.file}: it doesn't hold {shard.count} images; prepare the data set again"
        )


class TensorEntry(BaseModel):
    """Where a tensor is in a file, as safetensors writes it."""

    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


class _Header(BaseModel):
    """The header of a shard's file."""

    images: TensorEntry
