"""Time and memory of data preparation for 10k, 100k and 1M images.

python tests/benchmarks/preparation.py cifar10-png.zip [--sizes 10000 100000]
Larger sets repeat the archive's images, each copy shifted differently. First row: the archive itself.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
from peer_images import read
from PIL import Image
from rich.table import Table
from turns import ask, check, child, peak_memory, show


def prepare_in_this_process(archive: str, folder: str) -> dict[str, float]:
    """Decode, split and write one archive; return seconds and MiB."""
    from tasks.vision.data.pieces.piece_folder import PieceFolder
    from tasks.vision.data.prepare import prepare
    from tasks.vision.data.sources import find_source, read_source
    from tasks.vision.recipe.data import Data

    clock = time.monotonic()
    found = read_source(find_source(archive), 32)
    data = Data(source=archive)
    prepare(found, data, Path(folder) / "dataset", PieceFolder())
    return {"seconds": time.monotonic() - clock, "mebibytes": peak_memory()}


def _encoded(images: np.ndarray) -> list[bytes]:
    out = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG", compress_level=1)
        out.append(buffer.getvalue())
    return out


def _shifted(images: np.ndarray) -> Iterator[np.ndarray]:
    """Yield all images in chunks, endlessly, each round shifted by another number of pixels."""
    shift = 0
    while True:
        for start in range(0, len(images), 1000):
            yield np.roll(images[start : start + 1000], (shift // 32, shift % 32), (1, 2))
        shift += 1


def grow(archive: str, count: int, path: Path) -> None:
    """Write a zip of `count` images, a tenth of them for test."""
    images, labels, classes = read(archive, "train")
    written = 0
    with zipfile.ZipFile(path, "w") as out, ProcessPoolExecutor() as pool:
        chunks = islice(_shifted(images), -(-count // 1000))
        for chunk in pool.map(_encoded, chunks):
            for content in chunk[: count - written]:
                split = "test" if written % 10 == 0 else "train"
                label = classes[labels[written % len(labels)]]
                out.writestr(f"{split}/{label}/{written:07d}.png", content)
                written += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive")
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--only", metavar="FOLDER", help="prepare the archive there once")
    given = parser.parse_args()
    if given.only:
        print(json.dumps(prepare_in_this_process(given.archive, given.only)))
        return
    check(parser, given.archive)
    table = Table("images", "seconds", "images/s", "peak MiB", "bytes/image")
    with tempfile.TemporaryDirectory() as folder:

        def measure(archive: str, count: int) -> None:
            answer = ask(child("preparation", archive, "--only", folder)).answer
            seconds, mebibytes = answer["seconds"], answer["mebibytes"]
            table.add_row(
                f"{count:,}",
                f"{seconds:.1f}",
                f"{count / seconds:,.0f}",
                f"{mebibytes:,.0f}",
                f"{mebibytes * 2**20 / count:,.0f}",
            )

        with zipfile.ZipFile(given.archive) as archive:
            measure(given.archive, sum(n.endswith(".png") for n in archive.namelist()))
        for count in given.sizes:
            path = Path(folder) / "grown.zip"
            grow(given.archive, count, path)
            measure(str(path), count)
            path.unlink()
    show(table)


if __name__ == "__main__":
    main()
