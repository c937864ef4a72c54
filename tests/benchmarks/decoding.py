"""Rate of reading large JPEG photos to small squares, against other readers on the same cores.

python tests/benchmarks/decoding.py flowers5.zip [--photos 60] [--megapixels 12] [--size 224] [--rounds 5]
The photos are the archive's, enlarged, with grain as a sensor adds it, as JPEGs of quality 90 and 4:2:0.
Readers that are not installed are left out. Each round reads all photos once to warm up and once for time,
all readers in turn. "Differs by" is the mean difference from scaling all pixels as relevo does, of 255.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tempfile
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image, ImageOps
from rich.table import Table
from turns import check, child, interleave, show, spread

from tasks.vision.pictures.pixels import MARGIN

GRAIN = 4.0  # standard deviation of 255
Read = Callable[[bytes, int], np.ndarray]


def make_photos(archive: str, count: int, megapixels: float, folder: Path) -> None:
    """Write `count` photos of 4:3 into `folder`, which is made."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0)
    with zipfile.ZipFile(archive) as source:
        names = [name for name in sorted(source.namelist()) if name.lower().endswith(".jpg")]
        for row, name in enumerate(names[:: max(1, len(names) // count)][:count]):
            with Image.open(io.BytesIO(source.read(name))) as small:
                unit = round((megapixels * 1e6 / 12) ** 0.5)
                sides = (
                    (4 * unit, 3 * unit) if small.width >= small.height else (3 * unit, 4 * unit)
                )
                large = ImageOps.fit(small.convert("RGB"), sides, Image.Resampling.BICUBIC)
            grain = noise.normal(0, GRAIN, (large.height, large.width, 1)).astype(np.int16)
            pixels = np.clip(np.asarray(large, np.int16) + grain, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{row:04d}.jpg", quality=90, subsampling="4:2:0")


def _square(photo: Image.Image, size: int) -> np.ndarray:
    return np.asarray(ImageOps.fit(photo, (size, size), Image.Resampling.LANCZOS))


def _all_pixels(data: bytes, size: int) -> np.ndarray:
    """Pillow, every pixel."""
    with Image.open(io.BytesIO(data)) as photo:
        return _square(photo, size)


def _simplejpeg(data: bytes, size: int) -> np.ndarray:
    """libjpeg-turbo's own interface, scaled as far as relevo scales."""
    import simplejpeg

    side = ceil(MARGIN * size)
    pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=side, min_width=side, min_factor=1)
    return _square(Image.fromarray(pixels), size)


def _opencv(data: bytes, size: int) -> np.ndarray:
    """OpenCV, scaled as far as relevo scales."""
    import cv2

    cv2.setNumThreads(1)
    with Image.open(io.BytesIO(data)) as header:
        ratio = min(header.size) / ceil(MARGIN * size)
    factor = next(each for each in (8, 4, 2, 1) if ratio >= each or each == 1)
    flag = getattr(cv2, f"IMREAD_REDUCED_COLOR_{factor}") if factor > 1 else cv2.IMREAD_COLOR
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    return _square(Image.fromarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)), size)


def _torchvision(data: bytes, size: int) -> np.ndarray:
    """torchvision.io and its own resizing: it decodes every pixel."""
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg
    from torchvision.transforms.v2 import functional

    torch.set_num_threads(1)
    pixels = decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB)
    side = min(pixels.shape[1:])
    image = functional.resize(functional.center_crop(pixels, [side, side]), [size, size])
    return image.permute(1, 2, 0).numpy()


# The package that a reader needs, and how it reads one photo.
READERS: dict[str, tuple[str, Read]] = {
    "Pillow, all pixels": ("PIL", _all_pixels),
    "simplejpeg": ("simplejpeg", _simplejpeg),
    "OpenCV": ("cv2", _opencv),
    "torchvision": ("torchvision", _torchvision),
}


def with_relevo(folder: Path, size: int) -> np.ndarray:
    """Read a folder as `relevo predict` and preparation do: (n, size, size, 3)."""
    from tasks.vision.data.unlabelled import UnlabelledImages

    with UnlabelledImages([str(folder)]) as images:
        return np.concatenate([batch.images for batch in images.batches(size)])


def with_keras(folder: Path, size: int) -> np.ndarray:
    """Read it as Keras' guides do, cropped to the same square."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    found = keras.utils.image_dataset_from_directory(
        folder,
        labels=None,
        image_size=(size, size),
        crop_to_aspect_ratio=True,
        shuffle=False,
        verbose=False,
    )
    return np.concatenate([batch.numpy() for batch in found])


def with_threads(read: Read, folder: Path, size: int) -> np.ndarray:
    """Read it by a function for one photo, in a thread for each core."""
    files = sorted(folder.iterdir())
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return np.stack([*pool.map(lambda file: read(file.read_bytes(), size), files)])


def read_twice(name: str, folder: Path, size: int) -> dict[str, float]:
    """Images a second of the second pass, and how far the pixels are from those of all pixels."""
    whole = {"relevo": with_relevo, "Keras": with_keras}.get(name)
    call = whole or partial(with_threads, READERS[name][1])
    images = call(folder, size)
    clock = time.monotonic()
    call(folder, size)
    seconds = time.monotonic() - clock
    expected = with_threads(_all_pixels, folder, size).astype(np.float32)
    return {"rate": len(images) / seconds, "error": float(np.abs(images - expected).mean())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive")
    parser.add_argument("--photos", type=int, default=60)
    parser.add_argument("--megapixels", type=float, default=12)
    parser.add_argument("--size", type=int, default=224, help="pixels per side")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs=2, metavar=("READER", "FOLDER"), help="read it here once")
    given = parser.parse_args()
    if given.only:
        print(json.dumps(read_twice(given.only[0], Path(given.only[1]), given.size)))
        return
    check(parser, given.archive)
    names = ["relevo", "Keras", *(name for name, (needs, _) in READERS.items() if find_spec(needs))]
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home, "photos")
        make_photos(given.archive, given.photos, given.megapixels, folder)
        mebibytes = sum(file.stat().st_size for file in folder.iterdir()) / 2**20
        options = ["--size", given.size, "--only"]
        contenders = {
            name: child("decoding", given.archive, *options, name, folder) for name in names
        }
        turns = interleave(contenders, given.rounds)
    rates = {name: [turn.answer["rate"] for turn in each] for name, each in turns.items()}
    table = Table(
        *("reader", "images/s", "against Keras", "differs by"),
        title=f"{given.photos} photos of {given.megapixels:g} megapixels ({mebibytes:,.0f} MiB) to "
        f"{given.size} pixels, {len(os.sched_getaffinity(0))} cores",
    )
    for name, each in rates.items():
        against = f"{median(each) / median(rates['Keras']):.2f}x"
        table.add_row(name, spread(each), against, f"{turns[name][0].answer['error']:.2f}")
    show(table)


if __name__ == "__main__":
    main()
