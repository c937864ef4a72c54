"""Peer: what a plain script does with photos and a pretrained Keras model, in thirty lines.

python tests/benchmarks/peer_features.py ARCHIVE MODEL.keras
Reads the photos with Pillow, computes the model's last features once, and fits a logistic regression.
"""

from __future__ import annotations

import argparse
import io
import json
import time
import zipfile

import numpy as np
from PIL import Image, ImageOps


def read(archive: zipfile.ZipFile, split: str, side: int) -> tuple[np.ndarray, list[str]]:
    """Photos of one split (n, side, side, 3) uint8, cropped to squares, and their classes."""
    names = [n for n in archive.namelist() if f"{split}/" in n and not n.endswith("/")]
    photos = np.empty((len(names), side, side, 3), np.uint8)
    for photo, name in zip(photos, names, strict=True):
        with Image.open(io.BytesIO(archive.read(name))) as image:
            square = ImageOps.fit(image.convert("RGB"), (side, side), Image.Resampling.BILINEAR)
            photo[:] = np.asarray(square)
    return photos, [name.split("/")[-2] for name in names]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive")
    parser.add_argument("model")
    given = parser.parse_args()

    import keras
    import tensorflow as tf
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    network = keras.saving.load_model(given.model, compile=False)
    part = keras.Model(network.input, network.layers[-1].input)
    step = tf.function(lambda x: part(tf.cast(x, tf.float32), training=False))
    side, found = network.input_shape[1], {}
    with zipfile.ZipFile(given.archive) as archive:
        for split in ("train", "test"):
            photos, labels = read(archive, split, side)
            clock = time.monotonic()
            parts = [step(photos[i : i + 32]).numpy() for i in range(0, len(photos), 32)]
            rate = len(photos) / (time.monotonic() - clock)
            found[split] = (np.concatenate(parts), labels, rate)
    head = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    head.fit(*found["train"][:2])
    accuracy = head.score(*found["test"][:2])
    print(json.dumps({"accuracy": accuracy, "images_per_second": found["train"][2]}))


if __name__ == "__main__":
    main()
