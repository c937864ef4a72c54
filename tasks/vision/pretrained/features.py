"""Features of a frozen pretrained network, computed fast."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tasks.vision.pretrained.feature_points import Features, feature_names, feature_width
from tasks.vision.pretrained.network import PretrainedNetwork
from tasks.vision.pretrained.rebuild import rebuild

BATCH = 32


def feature_extractor(
    network: PretrainedNetwork,
    size: int,
    features: Features = "last layer",
    policy: str = "float32",
) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from (n, size, size, 3) uint8 images to (n, d) float32 features.

    Args:
        features: "last layer" is what the classification head sees; "every layer" adds the end of every
            stage, averaged over its map.
        policy: Keras' dtype policy, "float32" or "mixed_bfloat16".

    Raises:
        BadInput: the network can't take images of that size.
    """
    model = rebuild(network, size)
    outputs = [model.get_layer(name).output for name in feature_names(network, features)]
    part = keras.Model(model.input, outputs)

    @tf.function
    def forward(x: tf.Tensor) -> tf.Tensor:
        maps = part(x, training=False)
        pooled = [
            tf.reduce_mean(tf.cast(x, tf.float32), (1, 2))
            if len(x.shape) == 4
            else tf.cast(x, tf.float32)
            for x in (maps if isinstance(maps, list) else [maps])
        ]
        return tf.concat([tf.reshape(x, (BATCH, -1)) for x in pooled], 1)

    def compute(images: np.ndarray) -> np.ndarray:
        found = []
        for start in range(0, len(images), BATCH):
            batch = images[start : start + BATCH]
            full = np.zeros((BATCH, size, size, 3), np.uint8)
            full[: len(batch)] = batch
            found.append(forward(tf.constant(full)).numpy()[: len(batch)])
        return (
            np.concatenate(found)
            if found
            else np.empty((0, feature_width(network, features)), np.float32)
        )

    return compute
