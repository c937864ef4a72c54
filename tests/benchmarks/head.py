"""Training a head on a frozen backbone: cached features, against Keras' `fit` of the frozen model.

python tests/benchmarks/head.py cifar10-png.zip [--images 5000] [--epochs 30]
Both train the same linear head on the last layer of the same network, with the same images and epochs.
"""

from __future__ import annotations

import argparse
import json
import time
from statistics import median

import numpy as np
from peer_images import read
from rich.table import Table
from turns import check, child, interleave, show, spread


def train(way: str, archive: str, count: int, epochs: int) -> dict[str, float]:
    """Train a head with "cached features" or "frozen fit"; return seconds and accuracy."""
    from tasks.vision.device import find_device, loading_tensorflow

    with loading_tensorflow():
        import keras

    from tasks.vision.data.batches.targets import Examples, apply_scheme
    from tasks.vision.network.networks import HEAD, build_model, initialise
    from tasks.vision.network.runtime import set_up
    from tasks.vision.network.weights import get_weights
    from tasks.vision.recipe.schema import Network, Stage
    from tasks.vision.trained_model import Architecture, Card
    from tasks.vision.training.stage import Parent, train_stage
    from tasks.vision.training.transfer import head_inputs, recalibrate_batch_norm

    images, labels, classes = read(archive, "train")
    images, labels = images[:count], labels[:count].astype(np.int32)
    device = find_device()
    set_up(device)
    network = Network(widths=(32, 64, 128))
    architecture = Architecture(
        network=network, image_size=32, outputs=10, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)
    )
    model = build_model(architecture)
    initialise(model, images, 0)
    recalibrate_batch_norm(model, images)
    if way == "cached features":
        card = Card(
            architecture=architecture,
            labels=classes,
            classes=[[c] for c in classes],
            train="all",
            epochs=1,
            selected_epoch=1,
            seconds=0.0,
            images=count,
            images_per_second=1.0,
            flip=True,
            device=str(device),
            history=[],
        )
        examples = Examples(images, labels)
        stage = Stage(start="baseline", train="head", epochs=epochs)
        clock = time.monotonic()
        done, _ = train_stage(
            *(stage, apply_scheme(None, classes), examples, Examples(images[:512], labels[:512])),
            seed=0,
            device=device,
            parent=Parent(card, get_weights(model)),
        )
        return {
            "seconds": time.monotonic() - clock,
            "accuracy": done.history[-1]["accuracy"],
        }
    backbone = head_inputs(model)
    backbone.trainable = False
    probabilities = keras.layers.Dense(10, activation="softmax", dtype="float32", name=HEAD)(
        backbone(backbone.input, training=False)
    )
    frozen = keras.Model(backbone.input, probabilities)
    frozen.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    clock = time.monotonic()
    history = frozen.fit(images, labels, batch_size=512, epochs=epochs, verbose=0)
    return {"seconds": time.monotonic() - clock, "accuracy": history.history["accuracy"][-1]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["cached features", "frozen fit"])
    given = parser.parse_args()
    if given.only:
        print(json.dumps(train(given.only, given.archive, given.images, given.epochs)))
        return
    check(parser, given.archive)
    options = [given.archive, "--images", given.images, "--epochs", given.epochs]
    ways = ("frozen fit", "cached features")
    turns = interleave({way: child("head", *options, "--only", way) for way in ways}, given.rounds)
    base = median(turn.answer["seconds"] for turn in turns["frozen fit"])
    table = Table(
        *("way", "seconds", "times faster", "accuracy on train"),
        title=f"{given.images:,} images, {given.epochs} epochs of the head",
    )
    for way, each in turns.items():
        seconds = [turn.answer["seconds"] for turn in each]
        accuracy = median(turn.answer["accuracy"] for turn in each)
        table.add_row(way, spread(seconds), f"{base / median(seconds):.1f}", f"{accuracy:.3f}")
    show(table)


if __name__ == "__main__":
    main()
