"""A trained model as a Keras model of stock layers, which opens where this project isn't installed.

It computes in float32 on any machine, normalises the pixels itself and gives probabilities. What it is
made of is taken from the network that was trained, layer by layer, so that the two can't drift apart.
"""

from __future__ import annotations

import io
import json
import re
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import keras

from tasks.vision.device import Device
from tasks.vision.export.files import output_signature
from tasks.vision.network.layers import Convolution, FusedBatchNormalization, Pooling, silu
from tasks.vision.network.networks import FEATURE_PREFIX, GRID, HEAD, STANDARDISE, build_model
from tasks.vision.network.runtime import set_up
from tasks.vision.network.weights import set_weights
from tasks.vision.trained_model import Card, Tensors

FLOAT = "float32"
STOCK = {Convolution: keras.layers.Conv2D, Pooling: keras.layers.MaxPooling2D}


def stock_model(card: Card, tensors: Tensors) -> keras.Model:
    """The trained network from images to probabilities, in Keras' own layers, its weights set.

    Takes (n, size, size, 3) images of values 0 to 255, uint8 or float; gives (n, labels) float32, the
    probabilities in the order of `card.labels`.

    Raises:
        BadInput: the tensors are not those of the card's network.
    """
    architecture = card.architecture
    size = architecture.image_size
    # Float, since a uint8 input would cut the fractions off what a person has resized in floats.
    images = keras.Input((size, size, 3), dtype=FLOAT, name="images")
    plain = build_model(architecture.model_copy(update={"features": "last layer"}))
    network = keras.models.clone_model(plain, input_tensors=images, clone_function=_stock)
    x = network.output
    if architecture.features == "every layer":
        own = build_model(architecture)
        x = keras.layers.Concatenate(name="every_layer", dtype=FLOAT)(
            [_pooled(layer) for layer in network.layers if layer.name.startswith(FEATURE_PREFIX)]
        )
        for name in (STANDARDISE, HEAD):
            x = _stock(own.get_layer(name))(x)
    if card.binary:  # one logit: the other label's is its opposite
        other = keras.layers.Rescaling(-1.0, dtype=FLOAT, name="other")(x)
        x = keras.layers.Concatenate(name="both", dtype=FLOAT)([x, other])
    squash = "sigmoid" if card.binary else "softmax"
    x = keras.layers.Activation(squash, dtype=FLOAT, name="probabilities")(x)
    model = keras.Model(images, x, name=architecture.network.kind)
    set_weights(model, tensors)
    return model


def _stock(layer: Any) -> Any:
    """A layer of Keras' own that computes what `layer` does, in float32."""
    common = {"name": layer.name, "dtype": FLOAT}
    if isinstance(layer, FusedBatchNormalization):
        return keras.layers.BatchNormalization(
            momentum=layer.momentum, epsilon=layer.epsilon, scale=False, **common
        )
    if isinstance(layer, keras.layers.Activation) and layer.activation is silu:
        return keras.layers.Activation("silu", **common)
    kind = STOCK.get(type(layer), type(layer))
    return kind.from_config({**layer.get_config(), **common})


def _pooled(layer: Any) -> Any:
    """What `networks` makes of a layer's values: their mean over a 3x3 grid, flattened."""
    x, name = layer.output, layer.name
    if len(x.shape) == 2:
        return x
    side = x.shape[1]
    if side > GRID:
        x = keras.layers.AveragePooling2D(side // GRID, dtype=FLOAT, name=f"{name}_grid")(x)
    if rest := max(0, x.shape[1] - GRID):
        x = keras.layers.Cropping2D(((0, rest), (0, rest)), dtype=FLOAT, name=f"{name}_crop")(x)
    return keras.layers.Flatten(dtype=FLOAT, name=f"{name}_flat")(x)


def keras_file(card: Card, tensors: Tensors, device: Device) -> bytes:
    """The bytes of a `.keras` file, which are the same for the same model.

    What its outputs mean stands in its `metadata.json`, beside the version of Keras.
    """
    set_up(device)
    model = stock_model(card, tensors)
    with tempfile.TemporaryDirectory(prefix="relevo-") as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return _sealed(path, output_signature(card))


def _sealed(path: Path, meaning: dict[str, Any]) -> bytes:
    """The archive again, without what differs from one saving to the next: times and addresses."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as saved, zipfile.ZipFile(buffer, "w") as sealed:
        for name in saved.namelist():
            content = saved.read(name)
            if name == "metadata.json":
                kept = {"keras_version": json.loads(content)["keras_version"], **meaning}
                content = json.dumps(kept, indent=1).encode()
            elif name == "config.json":
                content = _numbered(content)
            sealed.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def _numbered(config: bytes) -> bytes:
    """Keras names shared objects by their addresses in memory; here, by the order in which they come."""
    seen: dict[bytes, int] = {}
    return re.sub(
        rb'("shared_object_id": )(\d+)',
        lambda found: found[1] + str(seen.setdefault(found[2], len(seen) + 1)).encode(),
        config,
    )
