"""Peer: the exercise as a plain Keras script of three stages, without cache or checkpoints.

python tests/benchmarks/peer_keras.py cifar10-png.zip [--epochs 30] prints one JSON line per stage.
"""

from __future__ import annotations

import argparse
import json
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from peer_images import read


def network(outputs: int, activation: str) -> keras.Model:
    """The exercise's small CNN."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(outputs, activation=activation),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    keras.utils.set_random_seed(given.seed)
    x, y, classes = read(given.archive, "train")
    test_x, test_y, _ = read(given.archive, "test")
    x, test_x = x.astype("float32") / 255, test_x.astype("float32") / 255
    car, truck = classes.index("automobile"), classes.index("truck")

    def learn(
        name: str, model: keras.Model, loss: str, xs: np.ndarray, ys: np.ndarray, truth: np.ndarray
    ) -> None:
        model.compile("adam", loss, metrics=["accuracy"])
        clock = time.monotonic()
        model.fit(xs, ys, batch_size=32, epochs=given.epochs, verbose=0)
        seconds = time.monotonic() - clock
        accuracy = model.evaluate(test_x, truth, batch_size=1000, verbose=0)[1]
        row = {
            "stage": name,
            "seconds": seconds,
            "accuracy": accuracy,
            "images_per_second": given.epochs * len(xs) / seconds,
        }
        print(json.dumps(row), flush=True)

    binary = network(1, "sigmoid")
    learn("baseline", binary, "binary_crossentropy", x, y == car, test_y == car)

    three = np.where(y == car, 0, np.where(y == truck, 1, 2))
    limits = ((0, 5000), (1, 5000), (2, 10000))
    chosen = np.concatenate([np.flatnonzero(three == t)[:most] for t, most in limits])
    binary.trainable = False
    head = keras.layers.Dense(3, activation="softmax")(binary.layers[-2].output)
    truth = np.where(test_y == car, 0, np.where(test_y == truck, 1, 2))
    learn(
        "transfer",
        keras.Model(binary.inputs, head),
        "categorical_crossentropy",
        x[chosen],
        keras.utils.to_categorical(three[chosen], 3),
        keras.utils.to_categorical(truth, 3),
    )

    learn(
        "ten_class",
        network(10, "softmax"),
        "categorical_crossentropy",
        x,
        keras.utils.to_categorical(y, 10),
        keras.utils.to_categorical(test_y, 10),
    )


if __name__ == "__main__":
    main()
