"""Data order and augmentation of an epoch, each a function of (seed, epoch) alone.

A resumed run therefore sees the same batches as an uninterrupted one.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from tasks.vision.data.images import Images

ORDER, SHIFT, FLIP = range(3)


def order(seed: int, epoch: int, n: int) -> np.ndarray:
    """Permutation of `n` images for this epoch: (n,) int64."""
    return np.random.default_rng([seed, epoch, ORDER]).permutation(n)


def windowed_order(seed: int, epoch: int, shard_of: np.ndarray, window: int) -> np.ndarray:
    """Permutation of images for this epoch that needs only some shards at a time: (n,) int64.

    The shards come in random order. As many as hold `window` images, one at least, are shuffled together.

    Args:
        shard_of: (n,) the number of each image's shard.
    """
    random = np.random.default_rng([seed, epoch, ORDER])
    numbers, counts = np.unique(shard_of, return_counts=True)
    by_shard = np.split(np.argsort(shard_of, kind="stable"), np.cumsum(counts)[:-1])
    parts: list[np.ndarray] = []
    group: list[np.ndarray] = []
    for number in random.permutation(len(numbers)):
        if group and sum(map(len, group)) + counts[number] > window:
            parts.append(random.permutation(np.concatenate(group)))
            group = []
        group.append(by_shard[number])
    return np.concatenate([*parts, random.permutation(np.concatenate(group))])


def mirrored(seed: int, epoch: int, n: int) -> np.ndarray:
    """Which images are mirrored in this epoch: (n,) bool.

    Alternating flip (Jordan, arXiv 2404.00498, sec. 3.4): the first epoch flips at random, and every
    later one flips the other images, so that two epochs in a row always show both sides.
    """
    first = np.random.default_rng([seed, 0, FLIP]).random(n) < 0.5
    return first ^ bool(epoch % 2)


def shifts(seed: int, epoch: int, n: int, reach: int) -> np.ndarray:
    """Offsets (row, column) of each image's crop in pixels, from 0 to 2*reach: (n, 2) int64."""
    return np.random.default_rng([seed, epoch, SHIFT]).integers(0, 2 * reach + 1, (n, 2))


def evenly_spaced(n: int, most: int) -> np.ndarray:
    """At most `most` of `n` positions, evenly spaced, since images may be sorted by class."""
    return np.linspace(0, n - 1, min(n, most)).astype(np.int64)


def resize(images: np.ndarray, size: int) -> np.ndarray:
    """Resize (n, ., ., 3) uint8 images to squares of `size` pixels: (n, size, size, 3) uint8."""
    out = np.empty((len(images), size, size, 3), np.uint8)
    for target, image in zip(out, images, strict=True):
        # The gap is that of a coarse first step, from a quarter on: a third of the time, almost invisible.
        small = Image.fromarray(image).resize(
            (size, size), Image.Resampling.BICUBIC, reducing_gap=2.0
        )
        target[:] = np.asarray(small)
    return out


def batch(
    images: Images,
    chosen: np.ndarray,
    flips: np.ndarray | None,
    moves: np.ndarray | None,
    reach: int,
) -> np.ndarray:
    """Make one batch: select, mirror, pad by reflection and crop.

    Args:
        images: (n, size, size, 3) uint8. chosen: (b,) indices into them.
        flips: (n,) bool or None. moves: (n, 2) from `shifts` or None.

    Returns:
        (b, size, size, 3) uint8.
    """
    out = images[chosen]
    if flips is not None:
        mirror = flips[chosen]
        out[mirror] = out[mirror, :, ::-1]
    if moves is not None and reach:
        size = out.shape[1]
        padded = np.pad(out, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="reflect")
        rows, columns = moves[chosen].T
        for row in range(2 * reach + 1):
            for column in range(2 * reach + 1):
                same = (rows == row) & (columns == column)
                out[same] = padded[same, row : row + size, column : column + size]
    return out
