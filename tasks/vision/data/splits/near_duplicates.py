"""Near duplicates: pictures that show the same after rescaling, recompression or a change of light.

A perceptual hash finds candidates and their low frequencies decide. By hand in NumPy, as that takes whole
arrays of decoded images; imagehash takes one Pillow image at a time and brings PyWavelets along.
"""

from __future__ import annotations

import math
from itertools import count
from typing import Protocol

import numpy as np

from tasks.vision.data.images import Images

BATCH = 64
COARSE, FINE = 8, 16  # frequencies per axis: of the hash, and of the comparison
BANDS = np.uint64(16) * np.arange(4, dtype=np.uint64)  # bits at which parts of the hash begin
MOST_BITS = 6  # that differ between the hashes of near duplicates
MOST_NEIGHBOURS = 10  # with the same part of the hash, that each image is compared with
MOST_DIFFERENCE = 0.2  # of two images' low frequencies, relative to the weaker ones'
LEAST_CONTRAST = 2.0  # standard deviation in grey levels; below that, an image is blank
MOST_LIGHT = 24.0  # difference in mean grey level


class Signatures(Protocol):
    """What near duplicates are found by, without their pixels.

    Attributes:
        hashes: (n,) uint64, the `perceptual_hashes`. frequencies: (n, k) float16, indexed by rows.
    """

    @property
    def hashes(self) -> np.ndarray: ...
    @property
    def frequencies(self) -> Rows: ...


class Rows(Protocol):
    """What is indexed by rows: an array, or what reads them where they are stored."""

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray: ...


def near_duplicates(images: Images) -> np.ndarray:
    """Find pairs of near duplicates; arguments as of `ComputedSignatures`, result as of `pairs_alike`."""
    return pairs_alike(ComputedSignatures(images))


def pairs_alike(signatures: Signatures) -> np.ndarray:
    """Find pairs of near duplicates.

    Returns:
        Rows of the pairs, (pairs, 2) int64, each with the lower row first. Of many images alike, only as many
        pairs as connect them.
    """
    pairs = _candidates(signatures.hashes)
    parts = np.array_split(pairs, max(1, -(-len(pairs) // BATCH)))
    return np.concatenate([part[_are_alike(signatures.frequencies, part)] for part in parts])


class ComputedSignatures:
    """Signatures that are computed from images where they are asked for.

    Args:
        images: (n, size, size, 3) uint8; read in pieces.
    """

    def __init__(self, images: Images) -> None:
        self._images = images
        starts = range(0, len(images), BATCH)
        parts = [perceptual_hashes(frequencies(images[at : at + BATCH])) for at in starts]
        self.hashes = np.concatenate([np.empty(0, np.uint64), *parts])

    @property
    def frequencies(self) -> Rows:
        return self

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        return frequencies(self._images[rows])


def perceptual_hashes(found: np.ndarray) -> np.ndarray:
    """Hash images by their frequencies so that like ones have hashes that differ in few bits: (n,) uint64."""
    side = math.isqrt(found.shape[1])
    low = found.reshape(-1, side, side)[:, :COARSE, :COARSE].reshape(len(found), -1)
    bits = low > np.median(low, axis=1, keepdims=True)
    bits = np.pad(bits, ((0, 0), (0, 64 - bits.shape[1])))
    return np.packbits(bits, axis=1).view(">u8").astype(np.uint64)[:, 0]


def frequencies(images: np.ndarray) -> np.ndarray:
    """The lowest coefficients of the images' orthonormal DCT in grey levels, k per axis: (n, k * k) float16."""
    size = images.shape[1]
    grey = images.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    waves = np.arange(min(FINE, size))[:, None] * (np.arange(size) + 0.5) * (np.pi / size)
    basis = np.cos(waves).astype(np.float32) * np.float32(np.sqrt(2)) / size
    basis[0] /= np.float32(np.sqrt(2))
    return (basis @ grey @ basis.T).reshape(len(images), -1).astype(np.float16)


def _candidates(hashes: np.ndarray) -> np.ndarray:
    """Pairs of rows whose hashes have a part in common and differ in few bits: (pairs, 2) int64, sorted."""
    found = [np.empty((0, 2), np.int64)]
    for band in BANDS:
        part = (hashes >> band) & np.uint64(0xFFFF)
        order = np.lexsort((hashes, part))
        for step in count(1):
            a, b = order[:-step], order[step:]
            same = part[a] == part[b]
            if step > MOST_NEIGHBOURS or not same.any():
                break
            near = same & (np.bitwise_count(hashes[a] ^ hashes[b]) <= MOST_BITS)
            found.append(np.sort(np.stack([a[near], b[near]], axis=1), axis=1))
    return np.unique(np.concatenate(found), axis=0)


def _are_alike(found: Rows, pairs: np.ndarray) -> np.ndarray:
    """Compare the frequencies of the images of each pair: (pairs,) bool."""
    if not len(pairs):
        return np.zeros(0, bool)
    a, b = (found[rows].astype(np.float32) for rows in pairs.T)
    light = np.abs(a[:, 0] - b[:, 0])
    contrast = np.minimum(*(np.linalg.norm(each[:, 1:], axis=1) for each in (a, b)))
    difference = np.linalg.norm(a[:, 1:] - b[:, 1:], axis=1)
    allowed = np.maximum(MOST_DIFFERENCE * contrast, MOST_DIFFERENCE * LEAST_CONTRAST)
    return (light <= MOST_LIGHT) & (difference <= allowed)
