"""Read the archive's images for the peers: with Pillow, in one process."""

from __future__ import annotations

import io
import zipfile

import numpy as np
from PIL import Image


def read(path: str, split: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Read one split of an archive of SPLIT/CLASS/*.png.

    Returns:
        uint8 images (n, 32, 32, 3) in a fixed random order, labels (n,) int64, class names.
    """
    with zipfile.ZipFile(path) as archive:
        names = [n for n in archive.namelist() if f"{split}/" in n and n.endswith(".png")]
        classes = sorted({n.split("/")[-2] for n in names})
        images = np.stack([np.asarray(Image.open(io.BytesIO(archive.read(n)))) for n in names])
    labels = np.array([classes.index(n.split("/")[-2]) for n in names])
    order = np.random.default_rng(0).permutation(len(names))  # the archive is sorted by class
    return images[order], labels[order], classes
