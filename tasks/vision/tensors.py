"""Arrays and one JSON note in a safetensors file: a bounded header and raw numbers, no code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

NOTE = "relevo"


def pack_arrays(arrays: Mapping[str, np.ndarray], note: Any) -> bytes:
    """The file's bytes, which are the same for the same arrays and note."""
    # np.ascontiguousarray would turn a scalar, such as Adam's step count, into a vector.
    ordered = {name: np.asarray(arrays[name], order="C") for name in sorted(arrays)}
    return save(ordered, {NOTE: json.dumps(note, sort_keys=True)})


def unpack_arrays(content: bytes) -> tuple[Any, dict[str, np.ndarray]]:
    """Note and arrays of what `pack_arrays` wrote; `ValueError` for anything else."""
    try:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        return json.loads(header["__metadata__"][NOTE]), load(content)
    except (SafetensorError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"no arrays with a note ({type(error).__name__}: {error})") from None
