"""CIFAR-10 as published: download, check against its hash, and read without running its pickles.

The archive's batches are pickles. `_BatchReader` replaces every name in them by an inert class, so
that reading builds only lists, numbers and bytes, and calls nothing.
"""

from __future__ import annotations

import itertools
import logging
import os
import pickle  # nosec B403
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tasks.vision.errors import BadInput
from tasks.vision.files.image_files import file_digest
from tasks.vision.pictures.decode import fit

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
CLASSES = [
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
]

log = logging.getLogger(__name__)


def fetch(cache_dir: Path | None = None) -> Path:
    """Path of the published archive in `cache_dir`, downloaded unless an intact copy is there.

    Args:
        cache_dir: default: `relevo` in the user's cache folder.

    Raises:
        ConnectionError: it can't be downloaded. BadInput: it can't be stored.
    """
    if cache_dir is None:
        cache_dir = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "relevo")
    path = cache_dir / URL.rpartition("/")[2]
    if path.exists():
        if file_digest(path) == SHA256:
            return path
        log.warning("%s is damaged and will be downloaded again", path)
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        # Atomic, since other processes may be downloading it too.
        with tempfile.TemporaryDirectory(dir=cache_dir, prefix=".") as folder:
            _download(Path(folder), path.name).replace(path)
    except ConnectionError:
        raise
    except OSError as error:
        raise BadInput(
            f"CIFAR-10 can't be stored in {cache_dir} ({error.strerror or error}); expected a folder"
            " that you may write, with 200 MB free"
        ) from error
    return path


# Keras' own helper, in a separate process, since it imports TensorFlow and prints.
HELPER = """
import sys
from keras.utils import get_file
url, name, digest, folder = sys.argv[1:]
get_file(name, url, file_hash=digest, hash_algorithm="sha256", cache_dir=folder, cache_subdir="")
"""


def _download(folder: Path, name: str) -> Path:
    """Download and check the archive; raises `ConnectionError`, or `BadInput` for another hash."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", HELPER, URL, name, SHA256, str(folder)],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "KERAS_BACKEND": "tensorflow",
            "KERAS_HOME": os.devnull,
            "MPLBACKEND": "agg",
        },
    )
    if done.returncode == 0:
        return folder / name
    lines = done.stderr.strip().splitlines()
    reason = lines[-1] if lines else f"status {done.returncode}"
    if "hash does not match" in reason:
        raise BadInput(
            f"{URL} gave other bytes than the published ones; expected SHA-256 {SHA256}:"
            f" put the published file at {folder.parent / name}"
        )
    raise ConnectionError(f"{URL} can't be downloaded ({reason}); check the network and try again")


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
                image[:] = np.asarray(fit(Image.fromarray(small), image_size))
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
