"""A small network of each family of keras.applications, through a whole run and back into plain Keras.

python tests/benchmarks/families.py [--only vgg16 xception]
Each has random weights in a file as Keras publishes them, trains a head and then one epoch of fine-tuning on
a few made photos, and is exported. Its learning rate is low: the usual one is for weights that have learnt.
"difference" is the largest between the exported model's probabilities in plain Keras and those of
`relevo predict` on the same photos.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from rich.table import Table
from turns import show

FAMILIES = {
    "convnext_tiny": "ConvNeXtTiny",
    "densenet121": "DenseNet121",
    "efficientnet_b0": "EfficientNetB0",
    "efficientnet_v2_b0": "EfficientNetV2B0",
    "inception_resnet_v2": "InceptionResNetV2",
    "inception_v3": "InceptionV3",
    "mobilenet": "MobileNet",
    "mobilenet_v2": "MobileNetV2",
    "mobilenet_v3_small": "MobileNetV3Small",
    "nasnet_mobile": "NASNetMobile",
    "resnet50": "ResNet50",
    "resnet50_v2": "ResNet50V2",
    "vgg16": "VGG16",
    "xception": "Xception",
}
SIZE = 96
MOST = 1e-3  # difference that an export may have
RECIPE = """
[data]
source = "DATA"
image_size = SIZE
[stages.tuned]
start = "imagenet/NETWORK"
weights = "WEIGHTS"
train = "head then all"
frozen_blocks = 0
epochs = 1
lr_scale = 0.01
controls = false
"""


def make_photos(folder: Path) -> None:
    """Write photos of two classes: noise that is redder, and noise that is bluer."""
    random = np.random.default_rng(0)
    for split, count in (("train", 40), ("test", 8)):
        for label, tint in (("red", (80, 0, 0)), ("blue", (0, 0, 80))):
            (folder / split / label).mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 176, (SIZE, SIZE, 3)) + np.array(tint)
                path = folder / split / label / f"{i}.png"
                Image.fromarray(pixels.astype(np.uint8)).save(path)


def write_weights(network: str, path: Path) -> None:
    """Write random weights of a network without its classifier, as Keras' own files have them."""
    import h5py
    import keras
    from keras.src.legacy.saving import legacy_h5_format

    size = 224 if network == "nasnet_mobile" else SIZE
    made = getattr(keras.applications, FAMILIES[network])(
        weights=None, include_top=False, input_shape=(size, size, 3)
    )
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, made)


def relevo(*words: str) -> dict:
    """Run a command and return its JSON; exit with its message if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "flows", *words, "--json"], stdout=subprocess.PIPE, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(words)}: status {done.returncode}")
    return json.loads(done.stdout)


def difference(network: str, folder: Path) -> float:
    """Train, export and open again; return the largest difference between the probabilities."""
    import keras

    weights, recipe, store = folder / f"{network}.h5", folder / "own.toml", str(folder / "store")
    write_weights(network, weights)
    text = RECIPE.replace("DATA", str(folder / "photos")).replace("SIZE", str(SIZE))
    recipe.write_text(text.replace("NETWORK", network).replace("WEIGHTS", str(weights)))
    run = relevo("run", str(recipe), "--store", store)
    model = run["stages"]["tuned"]["model"]
    photos = folder / "photos/test/red"
    rows = relevo("predict", model, str(photos), "--store", store)["predictions"]
    ours = np.array([list(row["probabilities"].values()) for row in rows])
    images = np.stack([np.asarray(Image.open(photos / Path(row["file"]).name)) for row in rows])
    theirs = keras.saving.load_model(Path(model, "model.keras")).predict(images, verbose=0)
    return float(np.abs(ours - theirs).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    table = Table("network", "difference", "seconds")
    worst = 0.0
    for network in parser.parse_args().only:
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            make_photos(Path(folder, "photos"))
            found = difference(network, Path(folder))
        worst = max(worst, found)
        table.add_row(network, f"{found:.1e}", f"{time.monotonic() - start:.0f}")
        print(network, found, flush=True, file=sys.stderr)
    show(table)
    if worst > MOST:
        sys.exit(f"a difference of {worst:.1e}; expected at most {MOST:g}")


if __name__ == "__main__":
    main()
