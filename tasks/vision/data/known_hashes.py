"""Hashes of a folder's files from the last time, for files that were not written to since.

As git does, a file counts as unchanged while its size, times and inode are the same, unless it was written just
before it was hashed. They are in the user's cache folder, for this machine alone.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
from safetensors import SafetensorError

from tasks.vision.data.pieces.pieces import DIGEST
from tasks.vision.data.shards.arrays import map_arrays, write_arrays
from tasks.vision.files.containers import Folder
from tasks.vision.files.download import cache_folder
from tasks.vision.files.replacing import replacing

LEAST = 500  # files; fewer are hashed in no time
SETTLED = 2_000_000_000  # nanoseconds after which a further write changes a file's time


class KnownHashes:
    """What is known of the files of one folder."""

    def __init__(self, folder: Folder) -> None:
        place = os.path.realpath(folder.path).encode("utf-8", "surrogateescape")
        self._folder = folder
        self._file = cache_folder() / "hashes" / hashlib.sha256(place).hexdigest()

    def of(self, paths: Sequence[str], states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which files are known, (n,) bool, and the hashes of those, (n, 16) uint8.

        Args:
            states: (n, 4) int64, as of `Folder.states`.
        """
        known, hashes = np.zeros(len(paths), bool), np.zeros((len(paths), DIGEST), np.uint8)
        try:
            digest, arrays = map_arrays(self._file)
            if _digest(arrays) != digest:
                return known, hashes
            names = json.loads(arrays["paths"].tobytes())
            before = dict(zip(names, range(len(names)), strict=True))
            at = np.array([before.get(path, -1) for path in paths], np.int64)
            known = (at >= 0) & (arrays["states"][at] == states).all(axis=1)
            hashes[known] = arrays["hashes"][at[known]]
        except (ValueError, KeyError, IndexError, OSError):
            known[:] = False
        return known, hashes

    def remember(
        self, paths: Sequence[str], states: np.ndarray, hashes: np.ndarray, began: int
    ) -> None:
        """Note the hashes of files that were last written before they were hashed.

        Args:
            began: `time.time_ns()` when the states were read.
        """
        settled = states[:, 1:3].max(axis=1, initial=0) < began - SETTLED
        names = [path for path, good in zip(paths, settled, strict=True) if good]
        arrays = {
            "paths": np.frombuffer(json.dumps(names).encode(), np.uint8),
            "states": states[settled],
            "hashes": hashes[settled],
        }
        # Without them, files are hashed again.
        with suppress(OSError, SafetensorError), replacing(self._file) as new:
            write_arrays(new, _digest(arrays), arrays)

    def forget(self) -> None:
        """Forget all, as one of them was wrong."""
        with suppress(OSError):
            self._file.unlink(missing_ok=True)


def _digest(arrays: dict[str, np.ndarray]) -> str:
    total = hashlib.sha256()
    for name in sorted(arrays):
        total.update(np.ascontiguousarray(arrays[name]).data)
    return total.hexdigest()
