"""CIFAR-10 as published: download, check against its hash, and read without running its pickles.

The archive's batches are pickles. `_BatchReader` replaces every name in them by an inert class, so
that reading builds only lists, numbers and bytes, and calls nothing.
"""

from __future__ import annotations

import itertools
import pickle  # nosec B403
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tasks.vision.errors import BadInput
from tasks.vision.files import download
from tasks.vision.files.download import Published
from tasks.vision.pictures.decode import square

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
CLASSES = [
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
]


def fetch(cache_dir: Path | None = None) -> Path:
    """Download the published archive to `cache_dir` unless an intact copy is there; return its path.

    Args:
        cache_dir: default: `relevo` in the user's cache folder.

    Raises:
        ConnectionError: it can't be downloaded. BadInput: it can't be stored.
    """
    return download.fetch(Published("CIFAR-10", URL, SHA256), cache_dir)


def read_split(path: Path, split: str, image_size: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Images (N, size, size, 3) uint8, labels (N,) int32 and names of "train" or "test"."""
    batches = _batches(path, "test_batch" if split == "test" else "data_batch_")
    order = sorted(batches)  # not the archive's order
    labels = np.concatenate([batches[name][1] for name in order])
    files = itertools.chain.from_iterable(batches[name][2] for name in order)
    names = [f"{split}/{CLASSES[label]}/{file}" for label, file in zip(labels, files, strict=True)]
    images = np.empty((len(labels), image_size, image_size, 3), np.uint8)
    ends = itertools.accumulate(len(batches[name][1]) for name in order)
    end = dict(zip(order, ends, strict=True))
    while batches:  # last in, first out, so that each one's memory is freed
        name, (planes, _, _) = batches.popitem()
        pixels = planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        target = images[end[name] - len(pixels) : end[name]]
        if image_size == 32:
            target[:] = pixels
        else:
            for image, small in zip(target, np.ascontiguousarray(pixels), strict=True):
                image[:] = np.asarray(square(Image.fromarray(small), image_size))
    return images, labels, names


def _batches(path: Path, prefix: str) -> dict[str, tuple[np.ndarray, np.ndarray, list[str]]]:
    """Pixels (N, 3072) uint8, labels (N,) int32 and file names of each batch."""
    batches = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                name = member.name.rpartition("/")[2]
                if name.startswith(prefix) and (file := archive.extractfile(member)):
                    batches[name] = _batch(_BatchReader(file, encoding="bytes").load())
        if not batches:
            raise ValueError(f"it has no {prefix}")
    except Exception as error:  # a bad pickle can raise anything
        hint = "expected the archive as published: remove it"
        raise BadInput(f"{path} isn't CIFAR-10 for Python ({error}); {hint}") from error
    return batches


def _batch(batch: dict[Any, Any]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    _, shape, _, _, raw = batch[b"data"].state
    pixels = np.frombuffer(raw, np.uint8).reshape(shape)
    labels = np.array(batch[b"labels"], np.int32)
    if pixels.shape != (len(labels), 3072) or set(labels.tolist()) - set(range(10)):
        raise ValueError(f"pixels {pixels.shape} for {len(labels)} labels")
    return pixels, labels, [name.decode() for name in batch[b"filenames"]]


class _Recorded:
    """Inert replacement for a class in a pickle: stores its state and does nothing else."""

    def __init__(self, *_: object) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _BatchReader(pickle.Unpickler):
    """Reads the published pickles; names in them are replaced by inert classes, or refused."""

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("numpy") and name in ("_reconstruct", "ndarray", "dtype"):
            return _Recorded
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes in this protocol
            return lambda text, _: text.encode("latin1")
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")
