"""Files of arrays with a note, as safetensors writes them, mapped rather than read into memory."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from tasks.vision.data.shards.shards import TensorEntry

MAX_HEADER = 2**24  # bytes of a file's header
DTYPES = {"U8": np.uint8, "F16": np.float16, "I32": np.int32, "I64": np.int64, "U64": np.uint64}


def write_arrays(path: Path, note: str, arrays: Mapping[str, np.ndarray]) -> int:
    """Write arrays and a note to a file; return how many bytes its header has."""
    save_file(dict(arrays), path, {"relevo": note})
    with path.open("rb") as file:
        return int.from_bytes(file.read(8), "little")


def map_arrays(path: Path) -> tuple[str, dict[str, np.ndarray]]:
    """Return the note and the arrays of a file that `write_arrays` wrote.

    Raises:
        ValueError: it is another file, or a broken one.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, MAX_HEADER)))
        note = header.pop("__metadata__")["relevo"]
        if not isinstance(note, str):
            raise ValueError("its note is no text")
        # By hand: safetensors' own reader copies arrays into memory.
        return note, {name: _mapped(path, 8 + length, entry) for name, entry in header.items()}
    except (OSError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"no file of arrays ({type(error).__name__})") from None


def _mapped(path: Path, start: int, entry: object) -> np.ndarray:
    """Map one array of the file whose data begins at byte `start`; ValueError if it isn't there."""
    about = TensorEntry.model_validate(entry)
    first, end = about.data_offsets
    dtype = np.dtype(DTYPES[about.dtype])
    size = math.prod(about.shape) * dtype.itemsize
    if min(first, *about.shape) < 0 or end - first != size or start + end > path.stat().st_size:
        raise ValueError("an array reaches out of the file")
    if not size:  # which can't be mapped
        return np.empty(about.shape, dtype)
    return np.memmap(path, dtype=dtype, mode="r", offset=start + first, shape=tuple(about.shape))
