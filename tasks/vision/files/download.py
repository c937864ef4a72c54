"""Download a published file once into the user's cache folder, and check it against its published hash."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tasks.vision.errors import BadInput
from tasks.vision.files.replacing import replacing

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Published:
    """A file that somebody has published.

    Attributes:
        digest: its hash as published, hexadecimal; None if there is none.
        megabytes: its size.
    """

    what: str
    url: str
    digest: str | None
    algorithm: Literal["sha256", "md5"] = "sha256"
    megabytes: int = 200

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.url.rpartition("/")[2]

    @property
    def hash(self) -> str:
        """The hash as messages name it."""
        return f"{'SHA-256' if self.algorithm == 'sha256' else 'MD5'} {self.digest}"

    def is_whole(self, path: Path) -> bool:
        """Whether the bytes of a file have the published hash; True if none is published."""
        if self.digest is None:
            return True
        with path.open("rb") as file:
            return hashlib.file_digest(file, self.algorithm).hexdigest() == self.digest


def cache_folder() -> Path:
    """The folder `relevo` in the user's cache folder, for what can be had again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "relevo")


def fetch(file: Published, cache_dir: Path | None = None) -> Path:
    """Path of the file in `cache_dir`, downloaded unless an intact copy is there.

    Args:
        cache_dir: default: `relevo` in the user's cache folder.

    Raises:
        ConnectionError: it can't be downloaded. BadInput: it can't be stored, or has another hash.
    """
    cache_dir = cache_dir or cache_folder()
    path = cache_dir / file.name
    if path.exists():
        if file.is_whole(path):
            return path
        log.warning("%s is damaged and will be downloaded again", path)
    try:
        with replacing(path) as new:
            _download(file, new.parent)
    except ConnectionError:
        raise
    except OSError as error:
        raise BadInput(
            f"{file.what} can't be stored in {cache_dir} ({error.strerror or error}); expected a folder"
            f" that you may write, with {file.megabytes} MB free"
        ) from error
    return path


# Keras' own helper, in a separate process, since it imports TensorFlow and prints.
HELPER = """
import sys
from keras.utils import get_file
url, name, digest, algorithm, folder = sys.argv[1:]
get_file(name, url, file_hash=digest or None, hash_algorithm=algorithm, cache_dir=folder, cache_subdir="")
"""


def _download(file: Published, folder: Path) -> None:
    """Download and check the file; raises `ConnectionError`, or `BadInput` for another hash."""
    words = [file.url, file.name, file.digest or "", file.algorithm, str(folder)]
    done = subprocess.run(
        [sys.executable, "-P", "-c", HELPER, *words],
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
        return
    lines = done.stderr.strip().splitlines()
    reason = lines[-1] if lines else f"status {done.returncode}"
    if "hash does not match" in reason:
        raise BadInput(
            f"{file.url} gave other bytes than the published ones; expected {file.hash}:"
            f" put the published file at {folder.parent / file.name}"
        )
    reason = reason.rpartition(" -- ")[2]  # Keras repeats the address before it
    raise ConnectionError(
        f"{file.url} can't be downloaded ({reason}); check the network and try again"
    )
