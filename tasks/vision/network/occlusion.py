"""Where any model looked: how much less probable a label becomes when a part of the image is covered.

Zeiler and Fergus, arXiv 1311.2901, sec. 4.2. It asks for 64 predictions of each image, which is little for the
small images of relevo's own networks; Grad-CAM would need their layers one by one.
"""

from __future__ import annotations

import numpy as np

from tasks.vision.network.predictor import Predictor

FIELDS = 8  # fields per side of a map
COVER = 4  # a quarter of the image's side is covered


def occlusion_maps(predictor: Predictor, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return how much the probability of one label of each image falls when a part is covered with its mean.

    Args:
        images: (n, size, size, 3) uint8. labels: (n,) indices.

    Returns:
        (n, 8, 8) float32, by the place of the covered square's centre.
    """
    size, rows = images.shape[1], np.arange(len(images))
    half = max(1, size // COVER // 2)
    whole = predictor(images)[rows, labels]
    colour = images.reshape(len(images), -1, 3).mean(1).round().astype(np.uint8)
    found = np.empty((len(images), FIELDS, FIELDS), np.float32)
    for row in range(FIELDS):
        for column in range(FIELDS):
            top, left = (int((each + 0.5) * size / FIELDS) for each in (row, column))
            covered = images.copy()
            window = np.s_[:, max(0, top - half) : top + half, max(0, left - half) : left + half]
            covered[window] = colour[:, None, None]
            found[:, row, column] = whole - predictor(covered)[rows, labels]
    return found
