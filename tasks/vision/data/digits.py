"""The scans of handwritten digits that scikit-learn ships."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from tasks.vision.data.labelled import ImageSet, Split
from tasks.vision.data.layouts.split_names import SPLITS

DIGITS = tuple("0123456789")


def read_digits(image_size: int, splits: Sequence[str]) -> ImageSet:
    """Return the scans, resized; a fifth of each digit is "test"."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    scans, labels = load_digits(return_X_y=True)
    rows = train_test_split(np.arange(len(labels)), test_size=0.2, random_state=0, stratify=labels)
    grey = np.rint(scans.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    read = {}
    for split in splits:
        chosen = np.sort(rows[SPLITS.index(split)])
        images = np.empty((len(chosen), image_size, image_size, 3), np.uint8)
        for image, scan in zip(images, grey[chosen], strict=True):
            # Bicubic: bilinear blurs the strokes, Lanczos rings around them.
            small = Image.fromarray(scan)
            large = small.resize((image_size, image_size), Image.Resampling.BICUBIC)
            image[:] = np.asarray(large)[:, :, None]
        names = [f"digits/{row:04d}" for row in chosen]
        read[split] = Split(images, labels[chosen].astype(np.int32), names)
    return ImageSet(list(DIGITS), read, [])
