"""Read a weights file, `.h5`, of a network that Keras names, within bounds.

Keras' older form has a group for each layer, in the order of its attribute `layer_names`, and arrays in the
order of each group's `weight_names`; Keras 3 writes `.weights.h5` as inside a `.keras` file. The older form
goes by order and not by name, since names differ between versions of Keras: every shape is checked.
"""

from __future__ import annotations

import io
from pathlib import Path

import h5py
import numpy as np

from tasks.vision.errors import BadInput
from tasks.vision.pretrained.graph.network import NetworkConfig
from tasks.vision.pretrained.readers.keras_file import MAX_FILE
from tasks.vision.pretrained.readers.keras_graph import Graph
from tasks.vision.pretrained.readers.keras_weights import (
    constants,
    read_weights,
    stored_array,
    stored_group,
)
from tasks.vision.text import printable
from tasks.vision.trained_model import Tensors

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MAX_NAMES = 10_000
COUNTS = ("count", "count:0")  # of images that a Normalization layer has seen, no weight


def read_weights_file(path: Path, config: NetworkConfig, graph: Graph, name: str) -> Tensors:
    """Return the float32 arrays of the network that Keras calls `name`, by `layer/weight`.

    Raises:
        BadInput: it is no weights file, or one of another network or of one with its classification head.
    """
    given = printable(path)
    if path.stat().st_size > MAX_FILE:
        raise BadInput(f"{given} has {path.stat().st_size:,} bytes; at most {MAX_FILE:,} expected")
    content = path.read_bytes()
    if not content.startswith(SIGNATURE):
        raise BadInput(
            f"{given} is no HDF5 file; expected the weights of {name} as Keras publishes them"
        )
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            if "model_weights" in file or "model_config" in file.attrs:
                raise BadInput(
                    f"{given} is a whole model; expected the weights of {name}: open it in Keras and save "
                    "them by model.save_weights('x.weights.h5'), or the model by model.save('x.keras')"
                )
            if "layer_names" in file.attrs or "layer_names0" in file.attrs:
                return _in_order(file, config, graph)
    except BadInput:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError) as error:
        reason = printable(" ".join(str(error).split()))[:200]
        raise BadInput(
            f"{given} isn't the weights of {name} without its classification head ({reason})"
        ) from None
    return read_weights(content, config, graph, given)


def _in_order(file: h5py.File, config: NetworkConfig, graph: Graph) -> Tensors:
    """Arrays of the older form, in order; a model inside of one is one of its layers there."""
    shapes = config.tensor_shapes(graph.shapes[config.input][0])
    tensors = constants(graph, shapes)
    expected = [name for name in shapes if name not in tensors]
    stored = [
        (layer, array)
        for layer in _names(file, "layer_names")
        for array in _names(stored_group(file, layer), "weight_names")
        if array.rpartition("/")[2] not in COUNTS
    ]
    if len(stored) != len(expected):
        raise ValueError(f"it has {len(stored)} arrays, expected {len(expected)}")
    for (layer, array), name in zip(stored, expected, strict=True):
        folder, _, last = f"{layer}/{array}".rpartition("/")
        place = f"{layer}/{array}, for {name},"
        tensors[name] = stored_array(stored_group(file, folder), last, place, shapes[name])
    return tensors


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """A list of names in an attribute, which Keras cuts into several when it is long."""
    found: list[str] = []
    parts = [attribute] if attribute in group.attrs else []
    while f"{attribute}{len(parts)}" in group.attrs:
        parts.append(f"{attribute}{len(parts)}")
    for part in parts:
        texts = np.asarray(group.attrs[part]).reshape(-1)
        found += [each.decode() if isinstance(each, bytes) else str(each) for each in texts]
    if len(found) > MAX_NAMES:
        raise ValueError(f"it lists {len(found):,} names")
    return found
