"""Export a trained model to Keras' stock layers, so that it loads without this project.

It computes in float32 on any machine, normalises the pixels itself and returns probabilities. Its layers
are derived from those of the trained network, so that the two can't diverge.
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
from tasks.vision.network.networks import FEATURE_PREFIX, HEAD, STANDARDISE, build_model, pooled
from tasks.vision.network.runtime import set_up
from tasks.vision.network.weights import set_weights
from tasks.vision.pretrained.compute.head_model import stock_logits
from tasks.vision.trained_model import Card, Tensors

FLOAT = "float32"
# Newer than Keras 3.8, which refuses them; all have their defaults.
NEW_SETTINGS = {
    *("input_axes", "output_axes", "quantization_config"),
    *("renorm", "renorm_clipping", "renorm_momentum"),
}
STOCK = {Convolution: keras.layers.Conv2D, Pooling: keras.layers.MaxPooling2D}


def stock_model(card: Card, tensors: Tensors) -> keras.Model:
    """Return the trained network in Keras' own layers, from images to probabilities.

    Takes (n, size, size, 3) images of values 0 to 255, uint8 or float; returns (n, labels) float32
    probabilities, in the order of `card.labels`.

    Raises:
        BadInput: the tensors do not match the card's network.
    """
    if card.pretrained:
        images, logits = stock_logits(card, tensors)
        return keras.Model(images, _probabilities(card, logits), name="pretrained_head")
    architecture = card.architecture
    size = architecture.image_size
    # A uint8 input would truncate images that a user has resized in floats.
    images = keras.Input((size, size, 3), dtype=FLOAT, name="images")
    plain = build_model(architecture.model_copy(update={"features": "last layer"}))
    network = keras.models.clone_model(plain, input_tensors=images, clone_function=_stock)
    x = network.output
    if architecture.features == "every layer":
        own = build_model(architecture)
        layers = [layer for layer in network.layers if layer.name.startswith(FEATURE_PREFIX)]
        x = keras.layers.Concatenate(name="every_layer", dtype=FLOAT)(
            [pooled(layer, FLOAT) for layer in layers]
        )
        for name in (STANDARDISE, HEAD):
            x = _stock(own.get_layer(name))(x)
    model = keras.Model(images, _probabilities(card, x), name=architecture.network.kind)
    set_weights(model, tensors)
    return model


def _probabilities(card: Card, x: Any) -> Any:
    """Return the probability of every label for the network's logits."""
    if card.binary:  # one logit: the other label's is its opposite
        other = keras.layers.Rescaling(-1.0, dtype=FLOAT, name="other")(x)
        x = keras.layers.Concatenate(name="both", dtype=FLOAT)([x, other])
    squash = "sigmoid" if card.binary else "softmax"
    return keras.layers.Activation(squash, dtype=FLOAT, name="probabilities")(x)


def _stock(layer: Any) -> Any:
    """Return Keras' own equivalent of `layer`, in float32."""
    common = {"name": layer.name, "dtype": FLOAT}
    if isinstance(layer, FusedBatchNormalization):
        return keras.layers.BatchNormalization(
            momentum=layer.momentum, epsilon=layer.epsilon, scale=False, **common
        )
    if isinstance(layer, keras.layers.Activation) and layer.activation is silu:
        return keras.layers.Activation("silu", **common)
    kind = STOCK.get(type(layer), type(layer))
    return kind.from_config({**layer.get_config(), **common})


def keras_file(card: Card, tensors: Tensors, device: Device) -> bytes:
    """Return the bytes of a `.keras` file, a function of the model alone.

    Its `metadata.json` has the model's `output_signature` beside the version of Keras.
    """
    set_up(device.in_float32 if card.pretrained else device)
    model = stock_model(card, tensors)
    with tempfile.TemporaryDirectory(prefix="relevo-") as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return _reproducible(path, output_signature(card))


def _reproducible(path: Path, signature: dict[str, Any]) -> bytes:
    """Rewrite the archive without what differs between two saves: times and memory addresses."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as saved, zipfile.ZipFile(buffer, "w") as rewritten:
        for name in saved.namelist():
            content = saved.read(name)
            if name == "metadata.json":
                metadata = {"keras_version": json.loads(content)["keras_version"], **signature}
                content = json.dumps(metadata, indent=1).encode()
            elif name == "config.json":
                content = _renumber(_for_older_keras(content))
            rewritten.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def _for_older_keras(config: bytes) -> bytes:
    """Leave out settings that older versions of Keras don't know."""

    def known(settings: dict[str, object]) -> dict[str, object]:
        return {key: value for key, value in settings.items() if key not in NEW_SETTINGS}

    return json.dumps(json.loads(config, object_hook=known)).encode()


def _renumber(config: bytes) -> bytes:
    """Number shared objects in order of appearance, where Keras has their memory addresses."""
    seen: dict[bytes, int] = {}
    return re.sub(
        rb'("shared_object_id": )(\d+)',
        lambda found: found[1] + str(seen.setdefault(found[2], len(seen) + 1)).encode(),
        config,
    )
