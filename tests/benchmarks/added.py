"""Time of preparing a folder again after pictures were added, against that of preparing all of it.

python tests/benchmarks/added.py [--small 100000] [--photos 3000] [--share 0.01]      (0 leaves one out)
The folder is one per class, without splits: of noise as PNG of 32 x 32 pixels, and of coarse shapes as JPEG of
1600 x 1200, prepared for 32 and 224 pixels. Seconds are those of hashing and preparing, without Python's start.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.table import Table
from turns import ask, child, show

CLASSES = 10
PHOTO = (1600, 1200)
PHOTOS = "photos"  # the folder


@dataclass(frozen=True)
class Kind:
    """Pictures of one kind: how many, and the size that they are prepared for."""

    name: str
    count: int
    suffix: str
    image_size: int


def picture(suffix: str, seed: int) -> bytes:
    """The file of one picture."""
    random, buffer = np.random.default_rng(seed), io.BytesIO()
    if suffix == "png":
        Image.fromarray(random.integers(0, 256, (32, 32, 3), np.uint8)).save(
            buffer, "PNG", compress_level=1
        )
    else:
        coarse = Image.fromarray(random.integers(0, 256, (12, 16, 3), np.uint8))
        coarse.resize(PHOTO, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def write(folder: Path, suffix: str, seeds: range) -> None:
    """Write pictures, evenly over the classes."""
    for label in range(CLASSES):
        (folder / f"class {label}").mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor() as pool:
        pictures = pool.map(partial(picture, suffix), seeds, chunksize=64)
        for seed, content in zip(seeds, pictures, strict=True):
            path = folder / f"class {seed % CLASSES}" / f"{seed:07d}.{suffix}"
            path.write_bytes(content)


def prepare_in_this_process(folder: str, store: str, image_size: int) -> dict[str, float | str]:
    """Hash and prepare a folder; return seconds and the digest."""
    from tasks.cache.keys import preparation
    from tasks.prepare import prepare_images
    from tasks.store.opening import open_store
    from tasks.vision.data.sources import contents_of, find_source
    from tasks.vision.recipe.data import Data

    data, home = Data(source=folder, image_size=image_size), open_store(store)
    clock = time.monotonic()
    contents = contents_of(find_source(folder))
    preparation(data, contents.digest)
    ref = prepare_images.fn(folder, data, [], contents, home)
    return {"seconds": time.monotonic() - clock, "digest": ref.ref.digest}


def prepared(kind: Kind, place: str, store: str) -> dict[str, Any]:
    """Prepare the pictures in a process of its own."""
    command = child("added", "--only", Path(place, PHOTOS), Path(place, store), kind.image_size)
    return ask(command, XDG_CACHE_HOME=str(Path(place, "cache"))).answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", type=int, default=100_000)
    parser.add_argument("--photos", type=int, default=3_000)
    parser.add_argument("--share", type=float, default=0.01, help="of pictures that are added")
    parser.add_argument(
        "--only", nargs=3, metavar=("FOLDER", "STORE", "SIZE"), help=argparse.SUPPRESS
    )
    given = parser.parse_args()
    if given.only:
        folder, store, size = given.only
        print(json.dumps(prepare_in_this_process(folder, store, int(size))))
        return
    kinds = [
        Kind("PNG, 32 x 32", given.small, "png", 32),
        Kind("JPEG, 1600 x 1200", given.photos, "jpg", 224),
    ]
    table = Table("pictures", "prepared, s", "added", "prepared again, s", "share of the time")
    for kind in (each for each in kinds if each.count):
        with tempfile.TemporaryDirectory() as place:
            photos, more = Path(place, PHOTOS), max(1, round(kind.count * given.share))

            write(photos, kind.suffix, range(kind.count))
            time.sleep(3)  # files that were just written are hashed again
            first = prepared(kind, place, "store")
            write(photos, kind.suffix, range(kind.count, kind.count + more))
            again, whole = prepared(kind, place, "store"), prepared(kind, place, "from nothing")
            if again["digest"] != whole["digest"]:
                raise SystemExit(f"{kind.name}: another data set than from nothing")
            table.add_row(
                f"{kind.count:,} {kind.name}",
                f"{first['seconds']:.1f}",
                f"{more:,}",
                f"{again['seconds']:.2f}",
                f"{again['seconds'] / first['seconds']:.1%}",
            )
            show(table)


if __name__ == "__main__":
    main()
