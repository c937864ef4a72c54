"""A head on a pretrained network, in TensorFlow: its logits, and the whole as stock Keras layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

from tasks.vision.pretrained.compute.features import feature_extractor
from tasks.vision.pretrained.compute.rebuild import rebuild
from tasks.vision.pretrained.graph.feature_points import feature_names
from tasks.vision.pretrained.graph.head_tensors import split_tensors
from tasks.vision.trained_model import Card, Tensors

FLOAT = "float32"


@dataclass(frozen=True)
class HeadOutput:
    """Output of a head for n images.

    Attributes:
        logits: (n, outputs) float32.
        unlike: (n,) share of the validation images that are more like training; None from an older model.
    """

    logits: np.ndarray
    unlike: np.ndarray | None


def head_function(card: Card, tensors: Tensors) -> Callable[[np.ndarray], HeadOutput]:
    """Return a function from uint8 images (n, size, size, 3) to a head's output, in one pass.

    Raises:
        BadInput: the tensors do not match the card's network.
    """
    model = split_tensors(card, tensors)
    size = card.architecture.image_size
    extract = feature_extractor(model.network, size, model.features, FLOAT)

    def compute(images: np.ndarray) -> HeadOutput:
        features = extract(images)
        unlike = model.ood_score.shares(features) if model.ood_score else None
        return HeadOutput(features @ model.kernel + model.bias, unlike)

    return compute


def stock_logits(card: Card, tensors: Tensors) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Return images and logits of the model in Keras' own layers, with its weights.

    Raises:
        BadInput: the tensors do not match the card's network.
    """
    model = split_tensors(card, tensors)
    whole = rebuild(model.network, card.architecture.image_size)
    outputs = [
        whole.get_layer(name).output for name in feature_names(model.network, model.features)
    ]
    pooled = [_flat(x, i) for i, x in enumerate(outputs)]
    x = pooled[0]
    if len(pooled) > 1:
        x = keras.layers.Concatenate(dtype=FLOAT, name="relevo_features")(pooled)
    head = keras.layers.Dense(card.architecture.outputs, dtype=FLOAT, name="relevo_head")
    logits = head(x)
    head.kernel.assign(model.kernel)
    head.bias.assign(model.bias)
    return whole.input, logits


def _flat(x: keras.KerasTensor, index: int) -> keras.KerasTensor:
    """Pool an activation as `feature_extractor` does: the mean of a map, anything else flattened."""
    if len(x.shape) == 4:
        return keras.layers.GlobalAveragePooling2D(dtype=FLOAT, name=f"relevo_{index}")(x)
    return x if len(x.shape) == 2 else keras.layers.Flatten(dtype=FLOAT, name=f"relevo_{index}")(x)
