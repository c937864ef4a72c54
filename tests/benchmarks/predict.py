"""Rate of `relevo predict`, against the bare network on the same images, already decoded.

python tests/benchmarks/predict.py cifar10-png.zip [--images 10000] [--rounds 5]
The network is that of ten_class in the recipe cifar10, with random weights. Rates exclude start-up: the seconds
for one image are subtracted. The last column compares whole processes, imports included.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from statistics import median

import numpy as np
from peer_images import read
from rich.table import Table
from turns import Turn, check, child, interleave, show, spread

from tasks.vision.device import find_device, loading_tensorflow
from tasks.vision.recipe.schema import Network
from tasks.vision.trained_model import Architecture, Card, pack, unpack

LABELS = [str(digit) for digit in range(10)]


def make_model(path: Path, images: np.ndarray, widths: list[int]) -> None:
    """Write a model folder with an untrained model."""
    with loading_tensorflow():
        from tasks.vision.network.networks import build_model, initialise
        from tasks.vision.network.runtime import set_up
        from tasks.vision.network.weights import get_weights

    set_up(find_device())
    architecture = Architecture(
        network=Network(widths=tuple(widths)),
        image_size=images.shape[1],
        outputs=len(LABELS),
        mean=(0.491, 0.482, 0.446),
        std=(0.247, 0.243, 0.262),
    )
    model = build_model(architecture)
    initialise(model, images, 0)
    card = Card(
        architecture=architecture,
        labels=LABELS,
        classes=[[label] for label in LABELS],
        train="all",
        epochs=1,
        selected_epoch=1,
        seconds=1.0,
        images=1,
        images_per_second=1.0,
        flip=True,
        device=str(find_device()),
        history=[],
    )
    path.mkdir()
    (path / "model.safetensors").write_bytes(pack(card, get_weights(model)))


def bare(folder: str, count: int) -> dict[str, float]:
    """Time the second pass of the network alone over images in memory."""
    images = np.load(Path(folder) / "images.npy")[:count]
    content = (Path(folder) / "model/model.safetensors").read_bytes()
    with loading_tensorflow():
        from tasks.vision.network.predictor import Predictor

    predictor = Predictor(*unpack(content, folder), find_device().in_float32)
    predictor(images)
    clock = time.monotonic()
    predictor(images)
    return {"second_pass": time.monotonic() - clock}


def take(archive: str, count: int, path: Path) -> None:
    """Copy the first images of the archive, unchanged, into one without folders."""
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(path, "w") as out:
        names = [name for name in source.namelist() if name.endswith(".png")][:count]
        for row, name in enumerate(names):
            out.writestr(f"{row:06d}.png", source.read(name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 256, 256])
    parser.add_argument("--bare", metavar="FOLDER", help="time the network alone")
    given = parser.parse_args()
    if given.bare:
        print(json.dumps(bare(given.bare, given.images)))
        return
    check(parser, given.archive)
    with tempfile.TemporaryDirectory() as folder:
        home, n = Path(folder), given.images
        images, _, _ = read(given.archive, "test")
        # The time does not depend on the content: the bare network may see other images.
        np.save(home / "images.npy", np.resize(images, (n, *images.shape[1:])))
        make_model(home / "model", images[:5000], given.widths)
        relevo = [sys.executable, "-m", "flows", "predict", home / "model"]
        alone = ["--bare", folder, "--images", n]
        contenders = {f"bare {n}": child("predict", given.archive, *alone)}
        for count in (n, 1):
            take(given.archive, count, home / f"{count}.zip")
            words = [*relevo, home / f"{count}.zip", "--csv", home / "seen.csv", "--force"]
            contenders[f"relevo predict {count}"] = words
        turns = interleave(contenders, given.rounds)

    whole = {
        name: [_once(turn) for turn in turns[f"{name} {n}"]] for name in ("bare", "relevo predict")
    }
    one = median(_once(turn) for turn in turns["relevo predict 1"])
    rates = {
        "bare": [n / turn.answer["second_pass"] for turn in turns[f"bare {n}"]],
        "relevo predict": [(n - 1) / (seconds - one) for seconds in whole["relevo predict"]],
    }
    table = Table(
        *("what", "total seconds", "images/s", "rate ratio", "ratio of total time"),
        title=f"{n:,} images, {find_device().in_float32}; widths {given.widths}",
    )
    for name, each in rates.items():
        table.add_row(
            name,
            spread(whole[name], 2),
            spread(each, 0),
            f"{median(each) / median(rates['bare']):.2f}",
            f"{median(whole['bare']) / median(whole[name]):.2f}",
        )
    show(table)


def _once(turn: Turn) -> float:
    """Seconds of a process without the second pass."""
    return turn.seconds - turn.answer.get("second_pass", 0.0)


if __name__ == "__main__":
    main()
