"""Builders for tests of image sources: images, folders and archives of them."""

from __future__ import annotations

import contextlib
import io
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tasks.vision.data.labelled import ImageSet
from tasks.vision.data.sources import find_source, read_source
from tasks.vision.errors import BadInput

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
JPEG_XL = b"\xff\x0a" + bytes(100)


def png(seed: int, size: tuple[int, int] = (8, 8)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return encoded(Image.fromarray(pixels), "PNG")


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def coarse_photo(seed: int) -> Image.Image:
    """Some coarse shapes, as a photo has them."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(coarse).resize((96, 96), Image.Resampling.BICUBIC)


def small_set() -> dict[str, bytes]:
    """Two classes, six training and three test images each, of several sizes and kinds."""
    files: dict[str, bytes] = {}
    for split, count in (("train", 6), ("test", 3)):
        for label in ("car", "zebra crossing"):
            for index in range(count):
                seed = len(files)
                files[f"{split}/{label}/{index}é.png"] = png(seed, (8 + seed % 3, 8 + seed % 2))
    files["train/car/photo.JPEG"] = encoded(Image.new("RGB", (20, 16), "red"), "JPEG")
    return files


def labelled_pngs(folders: Sequence[str], classes: Sequence[str], count: int) -> dict[str, bytes]:
    """So many pictures of noise of each class in each folder (with a slash at its end), no two alike."""
    names = [f"{folder}{c}/{i}.png" for folder in folders for c in classes for i in range(count)]
    return {name: png(1000 + seed) for seed, name in enumerate(names)}


def write_folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            (path / name).mkdir()
        else:
            (path / name).write_bytes(data)
    return path


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix in (".gz", ".tgz") else "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            if name.endswith("/"):
                member.type = tarfile.DIRTYPE
            archive.addfile(member, io.BytesIO(data))
    return path


def write_any(path: Path, files: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        return write_zip(path, files)
    return write_tar(path, files) if path.suffix else write_folder(path, files)


def read(path: Path, image_size: int = 8, **options: Any) -> ImageSet:
    return read_source(find_source(str(path)), image_size, **options)


def same(a: ImageSet, b: ImageSet) -> bool:
    return (
        a.classes == b.classes
        and a.unreadable == b.unreadable
        and a.splits.keys() == b.splits.keys()
        and all(
            mine.names == b.splits[name].names
            and np.array_equal(mine.labels, b.splits[name].labels)
            and np.array_equal(mine.images, b.splits[name].images)
            for name, mine in a.splits.items()
        )
    )


def refused(call: Callable[[], object], *expected: str) -> str:
    with pytest.raises(BadInput) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message, message
    assert "expected" in message, message
    for part in expected:
        assert part in message, message
    return message


@contextlib.contextmanager
def peak_memory() -> Iterator[Callable[[], int]]:
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
