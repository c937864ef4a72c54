"""Blank, dark and blurred pictures, as a network sees them: at the size of the prepared images.

What scaling hides does no harm, and all images have one size, as the measures need. CleanVision, from which the
measure of darkness is, opens files by itself, one after the other; here arrays are looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from tasks.vision.data.images import Images
from tasks.vision.data.splits.near_duplicates import LEAST_CONTRAST

BATCH = 32
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # Rec. 601
# Percentile of the pixels' strongest colours, and the share of its range below which a picture is dark: as
# CleanVision has it for grey levels, by which red roses would be dark.
BRIGHT, DARK = 99, 0.32
TILES = 4  # per axis; the sharpest counts, since a flower may stand before a blurred garden
FENCE = 1.5  # times the distance between the quartiles (Tukey 1977)
SHARP = (
    100.0  # variance of the Laplacian of a picture that is sharp enough whatever the others have
)


@dataclass(frozen=True)
class Measures:
    """Measures of n images.

    Attributes:
        contrast: standard deviation in grey levels, of 255.
        brightness: of the strongest colour in the lightest percent, of 1.
        sharpness: variance of the Laplacian in the sharpest tile (Pech-Pacheco et al. 2000).
    """

    contrast: np.ndarray
    brightness: np.ndarray
    sharpness: np.ndarray


def measure(images: Images, threads: int = 1) -> Measures:
    """Measure images (n, size, size, 3) uint8, read in pieces; the threads don't change the result."""

    def measured(start: int) -> np.ndarray:
        return _measured(np.asarray(images[start : start + BATCH]))

    with ThreadPoolExecutor(threads) as pool:
        parts = [np.empty((3, 0)), *pool.map(measured, range(0, len(images), BATCH))]
    return Measures(*np.concatenate(parts, axis=1))


def _measured(images: np.ndarray) -> np.ndarray:
    """Contrast, brightness and sharpness: (3, n) float64."""
    grey = images.astype(np.float32) @ LUMA
    strongest = images.max(-1).reshape(len(images), -1)
    brightness = np.percentile(strongest, BRIGHT, axis=1) / 255
    contrast = grey.reshape(len(grey), -1).std(1, dtype=np.float64)
    return np.stack([contrast, brightness, _sharpness(grey)])


def _sharpness(grey: np.ndarray) -> np.ndarray:
    """The largest variance of the Laplacian among the tiles of images (n, size, size)."""
    if grey.shape[1] < 3:
        return np.zeros(len(grey))
    middle = grey[:, 1:-1, 1:-1]
    around = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    edges = around - 4 * middle
    side = max(1, edges.shape[1] // TILES)
    count = edges.shape[1] // side
    tiles = edges[:, : count * side, : count * side].reshape(-1, count, side, count, side)
    return tiles.var(axis=(2, 4), dtype=np.float64).max((1, 2))


def flaws(measures: Measures) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield "blank", "dark" and "blurred", each with the rows and values, the worst first.

    A picture is blurred if its sharpness is low, and far below that of most others of the data set: below the
    lower quartile of the logarithms by more than `FENCE` times the distance between the quartiles.
    """
    blank = measures.contrast < LEAST_CONTRAST
    dark = ~blank & (measures.brightness < DARK)
    blurred = np.zeros(len(blank), bool)
    rest = ~blank & ~dark
    if rest.any():
        logs = np.log(np.maximum(measures.sharpness, 1e-6))
        low, high = np.percentile(logs[rest], [25, 75])
        blurred = rest & (logs < low - FENCE * (high - low)) & (measures.sharpness < SHARP)
    for kind, chosen, values in (
        ("blank", blank, measures.contrast),
        ("dark", dark, measures.brightness),
        ("blurred", blurred, measures.sharpness),
    ):
        rows = np.flatnonzero(chosen)
        rows = rows[np.argsort(values[rows], kind="stable")]
        yield kind, rows, values[rows]
