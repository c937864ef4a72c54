"""Memory and speed with more images than memory holds: preparing, one epoch, evaluating.

python tests/benchmarks/large.py cifar10-png.zip [--images 100000 1000000] [--size 64] [--bucket]
Images are those of CIFAR-10, shifted by some pixels in each copy so that all differ, and resized while they are
prepared. One in fifty is for test. An epoch has a million's steps cut short: at most 100,000 images are trained
on. Memory is the largest of any process of the run, in MiB. With --bucket the same from an S3 server, with a
cache of a tenth of the data: images are then shuffled half of that at a time, and from a folder as well.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from bucket_server import new_bucket, sent_bytes, served
from PIL import Image
from rich.table import Table
from turns import ask, check, child, show

TRAINED = 100_000  # images of an epoch, at most
TESTED = 50  # of so many images one is for test
RECIPE = """
[data]
source = "{source}"
image_size = {size}
window_gb = {window}
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
    """Seconds of a step, the peak memory of its processes in MiB, and the rate of its training, images/s."""

    seconds: float
    mebibytes: float
    trained: float = 0.0


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
    trained = 0.0
    if step == "prepare":
        from prefect import flow

        from flows.prepare_data import prepare_data

        @flow
        def nothing() -> None: ...

        nothing()  # starts Prefect's server
        clock = time.monotonic()
        prepare_data(own_recipe=Path(recipe).read_text("utf-8"), store=store)
    else:
        clock = time.monotonic()
        command = [sys.executable, "-m", "flows", "run", recipe, "--store", store, "--json"]
        done = subprocess.run(command, check=True, capture_output=True)
        trained = json.loads(done.stdout)["stages"]["all"]["images_per_second"]
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    peak = max(resource.getrusage(kind).ru_maxrss for kind in kinds) / 1024
    return Part(time.monotonic() - clock, peak, trained)


def measure(recipe: Path, store: str, folder: str, **environment: str) -> list[Part]:
    """Prepare, then train and evaluate, each in processes of its own."""
    places = {"RELEVO_BLOB_CACHE": f"{folder}/blobs", "PREFECT_HOME": f"{folder}/prefect"}
    steps = (
        child("large", recipe, "--step", step, "--store", store) for step in ("prepare", "run")
    )
    return [Part(**ask(step, **places, **environment).answer) for step in steps]


def cells(images: int, parts: list[Part]) -> list[str]:
    prepared, run = parts
    rate = f"{images / prepared.seconds:,.0f}"
    trained = f"{run.trained:,.0f}"
    return [
        rate,
        f"{prepared.mebibytes:,.0f}",
        trained,
        f"{run.seconds:.0f}",
        f"{run.mebibytes:,.0f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive")
    parser.add_argument("--images", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--size", type=int, default=64, help="pixels per side")
    parser.add_argument("--bucket", action="store_true", help="also from an S3 server")
    parser.add_argument("--step", choices=["prepare", "run"], help=argparse.SUPPRESS)
    parser.add_argument("--store", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        part = run_in_this_process(given.step, given.archive, given.store)
        print(json.dumps(part._asdict()))
        return
    check(parser, given.archive)
    prepared = ("prepared, images/s", "MiB")
    table = Table(
        "images", "store", *prepared, "trained, images/s", "whole run, s", "MiB", "fetched"
    )
    for images in given.images:
        with tempfile.TemporaryDirectory() as folder:
            source, recipe = Path(folder, "images.zip"), Path(folder, "large.toml")
            classes = write_copies(given.archive, images, source)
            gigabytes = images * given.size**2 * 3 / 1e9
            recipe.write_text(
                RECIPE.format(
                    source=source,
                    size=given.size,
                    window=gigabytes / 20 if given.bucket else 2.0,
                    targets=", ".join(f'{name} = ["{name}"]' for name in classes),
                    limits=", ".join(f"{name} = {TRAINED // len(classes)}" for name in classes),
                )
            )
            parts = measure(recipe, str(Path(folder, "store")), folder)
            table.add_row(f"{images:,}", "folder", *cells(images, parts), "")
            show(table)
            if given.bucket:
                with served() as server:
                    bound = {"RELEVO_BLOB_CACHE_GB": f"{gigabytes / 10}"}
                    parts = measure(recipe, f"s3://{new_bucket()}/x", folder, **bound)
                    fetched = f"{sent_bytes(server) / 1e9 / gigabytes:.2f}x the data"
                table.add_row(f"{images:,}", "bucket", *cells(images, parts), fetched)
                show(table)


if __name__ == "__main__":
    main()
