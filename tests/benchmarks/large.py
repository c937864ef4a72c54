"""Memory and speed with more images than memory holds: preparing, one epoch, evaluating.

python tests/benchmarks/large.py cifar10-png.zip [--images 100000 1000000] [--size 64]
Images are those of CIFAR-10, shifted by some pixels in each copy so that all differ, and resized while they are
prepared. One in fifty is for test. An epoch has a million's steps cut short: at most 100,000 images are trained
on. Memory is the largest of any process of the run, in MiB.
"""

from __future__ import annotations

import argparse
import io
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from rich.table import Table
from turns import ask, check, child, show

TRAINED = 100_000  # images of an epoch, at most
TESTED = 50  # of so many images one is for test
RECIPE = """
[data]
source = "{source}"
image_size = {size}
[labels.few]
targets = {{ {targets} }}
limits = {{ {limits} }}
correct_priors = false
[stages.all]
labels = "few"
network = {{ kind = "simple_cnn", widths = [32, 64, 64, 64] }}
optimizer = "adam"
epochs = 1
batch_size = 500
"""


class Part(NamedTuple):
    """Seconds of a command, and the peak memory of its processes in MiB."""

    seconds: float
    mebibytes: float


def write_copies(archive: str, images: int, to: Path) -> list[str]:
    """Write a zip with so many different images; return the classes."""
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(to, "w", zipfile.ZIP_STORED) as out:
        names = sorted(name for name in source.namelist() if name.endswith(".png"))
        pixels = [np.asarray(Image.open(io.BytesIO(source.read(name)))) for name in names]
        classes = [name.split("/")[-2] for name in names]
        for number in range(images):
            row, copy = number % len(names), number // len(names)
            moved = np.roll(pixels[row], (copy % 32, copy // 32 + row % 3), (0, 1))
            buffer = io.BytesIO()
            Image.fromarray(moved).save(buffer, "PNG", compress_level=1)
            split = "test" if number % TESTED == 0 else "train"
            out.writestr(f"{split}/{classes[row]}/{number:07d}.png", buffer.getvalue())
    return sorted(set(classes))


def run_in_this_process(step: str, recipe: str, store: str) -> Part:
    """Run one step; the peak is that of this process or of a process that it started."""
    clock = time.monotonic()
    if step == "prepare":
        from flows.prepare_data import prepare_data

        prepare_data(own_recipe=Path(recipe).read_text("utf-8"), store=store)
    else:
        command = [sys.executable, "-m", "flows", "run", recipe, "--store", store]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    peak = max(resource.getrusage(kind).ru_maxrss for kind in kinds) / 1024
    return Part(time.monotonic() - clock, peak)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive")
    parser.add_argument("--images", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--size", type=int, default=64, help="pixels per side")
    parser.add_argument("--step", choices=["prepare", "run"], help=argparse.SUPPRESS)
    parser.add_argument("--store", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        part = run_in_this_process(given.step, given.archive, given.store)
        print(f'{{"seconds": {part.seconds}, "mebibytes": {part.mebibytes}}}')
        return
    check(parser, given.archive)
    table = Table("images", "prepared, images/s", "MiB", "trained and evaluated, s", "MiB")
    for images in given.images:
        with tempfile.TemporaryDirectory() as folder:
            source, recipe = Path(folder, "images.zip"), Path(folder, "large.toml")
            classes = write_copies(given.archive, images, source)
            recipe.write_text(
                RECIPE.format(
                    source=source,
                    size=given.size,
                    targets=", ".join(f'{name} = ["{name}"]' for name in classes),
                    limits=", ".join(f"{name} = {TRAINED // len(classes)}" for name in classes),
                )
            )
            parts = [
                ask(child("large", recipe, "--step", step, "--store", Path(folder, "store"))).answer
                for step in ("prepare", "run")
            ]
        table.add_row(
            f"{images:,}",
            f"{images / parts[0]['seconds']:,.0f}",
            f"{parts[0]['mebibytes']:,.0f}",
            f"{parts[1]['seconds']:.0f}",
            f"{parts[1]['mebibytes']:,.0f}",
        )
        show(table)


if __name__ == "__main__":
    main()
