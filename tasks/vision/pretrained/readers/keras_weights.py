"""Read the weights of a Keras 3 model from its HDF5 file, within bounds.

Each array is looked up by the path that Keras gives it, through hard links alone, and has to be stored whole
in the file: HDF5 can also name other files, compute an array from others, and declare arrays that are not
there. Shapes come from the network; an array of another is refused before it is read.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping

import h5py
import numpy as np

from tasks.vision.errors import BadInput
from tasks.vision.pretrained.graph.layer import Shape
from tasks.vision.pretrained.graph.network import NetworkConfig
from tasks.vision.pretrained.readers.keras_graph import Graph
from tasks.vision.text import printable
from tasks.vision.trained_model import Tensors

FLOATS = {"float16", "float32", "float64"}
AGAIN = "save the model again with model.save('x.keras')"


class WeightsError(ValueError):
    """Something in the file that Keras doesn't write."""


def read_weights(content: bytes, config: NetworkConfig, graph: Graph, origin: str) -> Tensors:
    """Return the float32 arrays of every weight by its name `layer/weight`.

    Raises:
        BadInput: an array is missing, has another shape or dtype, holds NaN, or is not stored as Keras does.
    """
    size = (config.input_size or graph.shapes[config.input])[0]
    shapes = config.tensor_shapes(size)
    if 2 * sum(math.prod(shape) for shape in shapes.values()) > len(content):
        raise BadInput(f"{origin} is smaller than the network's weights; {AGAIN}")
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            return _tensors(file, config, graph, shapes)
    except WeightsError as error:
        raise BadInput(f"{origin}: {printable(error)}; {AGAIN}") from None
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError) as error:
        reason = printable(" ".join(str(error).split()))[:200]
        raise BadInput(f"{origin} is damaged ({reason}); {AGAIN}") from None


def _tensors(
    file: h5py.File, config: NetworkConfig, graph: Graph, shapes: Mapping[str, Shape]
) -> Tensors:
    tensors = constants(graph, shapes)
    for layer in config.layers:
        names = [name for name in shapes if name.rpartition("/")[0] == layer.name]
        if not names or names[0] in tensors:
            continue
        path = f"{graph.paths[layer.name]}/vars"
        group = stored_group(file, path)
        saved_as = _name_of(group)
        if saved_as is not None and saved_as != graph.keras_names[layer.name]:
            raise WeightsError(f"{path} has the weights of {saved_as!r}, expected {layer.name!r}")
        spare = 1 if layer.kind == "Normalization" else 0  # its count of images
        if len(group) != len(names) + spare:
            raise WeightsError(f"{path} has {len(group)} arrays, expected {len(names) + spare}")
        for i, name in enumerate(names):
            tensors[name] = stored_array(group, str(i), f"{path}/{i}", shapes[name])
    return tensors


def constants(graph: Graph, shapes: Mapping[str, Shape]) -> Tensors:
    """Return the weights that stand in the config itself.

    Raises:
        ValueError: one has no number for each channel.
    """
    return {
        name: _constant(graph.constants[name], name, shape)
        for name, shape in shapes.items()
        if name in graph.constants
    }


def stored_group(file: h5py.File, path: str) -> h5py.Group:
    """Follow hard links to a group.

    Raises:
        ValueError: there is none, or a link of another kind.
    """
    found: h5py.Group = file
    for part in path.split("/"):
        found = _hard(found, part, path)
        if not isinstance(found, h5py.Group):
            raise WeightsError(f"{path} is no group")
    return found


def _name_of(group: h5py.Group) -> str | None:
    """The layer's name as Keras notes it beside the weights; files of older versions have none."""
    if "name" not in group.attrs or group.attrs.get_id("name").shape != ():
        return None
    name = group.attrs["name"]
    return name if isinstance(name, str) else None


def _hard(group: h5py.Group, name: str, path: str) -> h5py.Group | h5py.Dataset:
    try:
        link = group.get(name, getlink=True)
    except (KeyError, ValueError):
        link = None
    if link is None:
        raise WeightsError(f"it has no {path}")
    if not isinstance(link, h5py.HardLink):
        raise WeightsError(f"{path} is a {type(link).__name__}, which can name other data")
    return group[name]


def stored_array(group: h5py.Group, name: str, path: str, shape: Shape) -> np.ndarray:
    """Return an array of finite numbers as float32, which has to be stored whole in the file itself.

    Raises:
        ValueError: it isn't, or has another shape or dtype.
    """
    data = _hard(group, name, path)
    if not isinstance(data, h5py.Dataset):
        raise WeightsError(f"{path} is no array")
    if data.is_virtual or data.external or data.id.get_create_plist().get_external_count():
        raise WeightsError(f"{path} names data outside of itself")
    if data.dtype.name not in FLOATS:
        raise WeightsError(f"{path} holds {data.dtype}, expected float32")
    if data.shape != shape:
        raise WeightsError(f"{path} has the shape {data.shape}, expected {shape}")
    stored = data.id.get_storage_size()
    if data.chunks is not None or stored != math.prod(shape) * data.dtype.itemsize:
        raise WeightsError(
            f"{path} is compressed, in pieces or not there; expected as Keras stores it"
        )
    return _checked(data[()], path)


def _constant(value: object, name: str, shape: Shape) -> np.ndarray:
    """An array that stands in the config: numbers by channel, or one for all."""
    numbers = value if isinstance(value, list) else []
    if len(numbers) not in (1, shape[-1]) or not all(
        isinstance(n, int | float) and not isinstance(n, bool) for n in numbers
    ):
        raise WeightsError(f"{name} has no numbers for {shape[-1]} channels")
    return _checked(np.broadcast_to(np.array(numbers, np.float64), shape), name)


def _checked(value: np.ndarray, path: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        array = np.asarray(value, np.float32, order="C")
    if not np.isfinite(array).all():
        raise WeightsError(f"{path} holds NaN or infinite numbers")
    return array
