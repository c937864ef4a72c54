"""Peer: Keras' own guide to transfer learning, https://keras.io/guides/transfer_learning/, on photos.

python tests/benchmarks/peer_guide.py ARCHIVE MODEL.keras [--epochs 5]
The model without its last layer stays frozen, images are flipped and rotated at random, and `fit` trains a
head. The archive is unpacked first, since `image_dataset_from_directory` reads folders.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import zipfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def folder_of(split: str, unpacked: Path) -> Path:
    """The folder of a split, which may be inside of another one."""
    return next(path for path in sorted(unpacked.rglob(split)) if path.is_dir())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive")
    parser.add_argument("model")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()

    import keras

    keras.utils.set_random_seed(given.seed)
    network = keras.saving.load_model(given.model, compile=False)
    base = keras.Model(network.input, network.layers[-1].input)
    base.trainable = False
    side = network.input_shape[1]
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(given.archive) as archive:
            archive.extractall(folder)
        data = {
            split: keras.utils.image_dataset_from_directory(
                folder_of(split, Path(folder)),
                image_size=(side, side),
                crop_to_aspect_ratio=True,
                shuffle=split == "train",
                seed=given.seed,
                verbose=False,
            )
            for split in ("train", "test")
        }
        classes, images = len(data["train"].class_names), len(data["train"].file_paths)
        inputs = keras.Input((side, side, 3))
        x = keras.layers.RandomFlip("horizontal")(inputs)
        x = keras.layers.RandomRotation(0.1)(x)
        x = keras.layers.Dropout(0.2)(base(x, training=False))
        model = keras.Model(inputs, keras.layers.Dense(classes)(x))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss, metrics=["accuracy"])
        clock = time.monotonic()
        model.fit(data["train"].prefetch(2), epochs=given.epochs, verbose=0)
        rate = given.epochs * images / (time.monotonic() - clock)
        accuracy = model.evaluate(data["test"].prefetch(2), verbose=0)[1]
    print(json.dumps({"accuracy": accuracy, "images_per_second": rate}))


if __name__ == "__main__":
    main()
