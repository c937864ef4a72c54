"""Groups of pictures that are the same, pixel by pixel, or nearly: within a split and across splits."""

from __future__ import annotations

import hashlib

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tasks.vision.check.findings import Group
from tasks.vision.data.images import Images
from tasks.vision.data.splits.near_duplicates import near_duplicates

BATCH = 64


def duplicate_groups(images: Images, left_out: np.ndarray) -> list[Group]:
    """Find the groups of images with a duplicate.

    Args:
        images: (n, size, size, 3) uint8, read in pieces. left_out: rows of blank ones, which are all alike.
    """
    pairs = near_duplicates(images)
    pairs = pairs[~np.isin(pairs, left_out).any(axis=1)]
    rows, places = np.unique(pairs, return_inverse=True)
    edges = places.reshape(-1, 2).T
    graph = coo_array((np.ones(edges.shape[1], bool), tuple(edges)), shape=(len(rows),) * 2)
    count, numbers = connected_components(graph, directed=False)
    order = np.argsort(numbers, kind="stable")
    keys = _keys(images, rows)
    members = np.split(order, np.searchsorted(numbers[order], np.arange(1, count)))
    return [
        Group(rows=tuple(rows[each].tolist()), same=len({keys[place] for place in each}) == 1)
        for each in members
        if len(each)
    ]


def _keys(images: Images, rows: np.ndarray) -> list[bytes]:
    """A hash of the pixels of each image."""
    found: list[bytes] = []
    for start in range(0, len(rows), BATCH):
        part = np.ascontiguousarray(images[rows[start : start + BATCH]])
        found += [hashlib.blake2b(image.data, digest_size=16).digest() for image in part]
    return found
