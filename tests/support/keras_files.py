"""Small `.keras` files written by hand, without Keras: a good one, and whatever a test makes of it."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Json = dict[str, Any]
SIZE = 32
METADATA: Json = {"keras_version": "3.15.1", "date_saved": "2026-01-01@00:00:00"}


def tensor(name: str, shape: list[int | None]) -> Json:
    """An activation as a Keras config names it."""
    config = {"shape": shape, "dtype": "float32", "keras_history": [name, 0, 0]}
    return {"class_name": "__keras_tensor__", "config": config}


def layer(kind: str, name: str, inputs: list[str], **settings: Any) -> Json:
    """A stock layer as a Keras config names it."""
    found = [tensor(each, [None]) for each in inputs]
    args: list[Any] = [found] if len(found) > 1 else found
    return {
        "module": "keras.layers",
        "class_name": kind,
        "config": {"name": name, "trainable": True, "dtype": "float32", **settings},
        "registered_name": None,
        "name": name,
        "inbound_nodes": [{"args": args, "kwargs": {}}] if inputs else [],
    }


def model(layers: list[Json], output: str, name: str = "small") -> Json:
    """A functional model of such layers, the first of which is its input."""
    return {
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "config": {
            "name": name,
            "trainable": True,
            "layers": layers,
            "input_layers": [layers[0]["name"], 0, 0],
            "output_layers": [output, 0, 0],
        },
        "registered_name": None,
        "build_config": {"input_shape": None},
    }


def small_model() -> Json:
    """Rescaling, convolution, normalisation, ReLU6, depthwise convolution, pooling, dense."""
    window = {"padding": "same", "data_format": "channels_last", "dilation_rate": [1, 1]}
    window |= {"kernel_size": [3, 3], "activation": "linear"}
    return model(
        [
            layer("InputLayer", "pixels", [], batch_shape=[None, SIZE, SIZE, 3]),
            layer("Rescaling", "scale", ["pixels"], scale=1 / 127.5, offset=-1.0),
            layer("Conv2D", "stem", ["scale"], filters=8, strides=[2, 2], use_bias=False, **window),
            layer("BatchNormalization", "norm", ["stem"], axis=-1, epsilon=0.001),
            layer("ReLU", "act", ["norm"], max_value=6.0),
            layer("DepthwiseConv2D", "deep", ["act"], strides=[2, 2], use_bias=True, **window),
            layer("GlobalAveragePooling2D", "pool", ["deep"], keepdims=False),
            layer("Dropout", "drop", ["pool"], rate=0.2),
            layer("Dense", "head", ["drop"], units=5, activation="softmax", use_bias=True),
        ],
        "head",
    )


def small_weights() -> dict[str, np.ndarray]:
    """The weights of `small_model` by their paths in the weights file."""
    shapes: dict[str, list[tuple[int, ...]]] = {
        "conv2d": [(3, 3, 3, 8)],
        "batch_normalization": [(8,)] * 4,
        "depthwise_conv2d": [(3, 3, 8, 1), (8,)],
        "dense": [(8, 5), (5,)],
    }
    random = np.random.default_rng(0)
    return {
        f"layers/{name}/vars/{i}": random.uniform(0.1, 1, shape).astype(np.float32)
        for name, each in shapes.items()
        for i, shape in enumerate(each)
    }


def hdf5(
    weights: dict[str, np.ndarray], change: Callable[[h5py.File], object] | None = None
) -> bytes:
    """A weights file; `change` gets it open, to spoil it."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for path, value in weights.items():
            file[path] = value
        if change is not None:
            change(file)
    return buffer.getvalue()


def write_keras(
    path: Path,
    config: Json | bytes | None = None,
    weights: bytes | None = None,
    metadata: Json | bytes = METADATA,
    extra: dict[str, bytes] | None = None,
) -> Path:
    """Write a `.keras` file: the small model, with whatever is given in place of its parts."""

    def content(value: Json | bytes) -> bytes:
        return value if isinstance(value, bytes) else json.dumps(value).encode()

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", content(metadata))
        archive.writestr("config.json", content(small_model() if config is None else config))
        archive.writestr("model.weights.h5", hdf5(small_weights()) if weights is None else weights)
        for name, value in (extra or {}).items():
            archive.writestr(name, value)
    return path
