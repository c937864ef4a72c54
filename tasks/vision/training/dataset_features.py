"""Features of all images of a data set: in pieces, resumable, and a function of network and images alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from tasks.vision.data.batches.prefetch import Waiting
from tasks.vision.data.dataset import Dataset
from tasks.vision.data.images import Images, pieces, stored_order
from tasks.vision.training.state import (
    Checkpointer,
    Progress,
    Snapshot,
    TrainingInterrupted,
    raise_if_stopped,
)

PIECE = 256  # images that are read and passed through the network at a time; at least one batch
SAVE_EVERY = 30.0  # seconds between checkpoints
GROWTH = 1.25  # of the features between two checkpoints, each of which holds all of them
SPLITS = ("train", "test")  # as they are stored


@dataclass(frozen=True)
class Computed:
    """The features (n, d) float32 of the stored "train" and "test", and what computing them took."""

    arrays: dict[str, np.ndarray]
    seconds: float
    resumed: bool


def features_of(
    data: Dataset,
    extract: Callable[[np.ndarray], np.ndarray],
    width: int,
    batch: int,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    checkpointer: Checkpointer | None = None,
) -> Computed:
    """Compute the features of all stored images, or resume from the last checkpoint.

    Args:
        extract: from uint8 images (n, size, size, 3) to `width` float32 features of each.
        batch: number of images that `extract` computes at a time; pieces hold whole batches.

    Raises:
        TrainingInterrupted: `checkpointer` asked for it; a snapshot has been saved.
    """
    images = [data.stored_images(split) for split in SPLITS]
    total, size = sum(map(len, images)), batch * max(1, PIECE // batch)
    found = np.empty((total, width), np.float32)
    order = _order(images)
    done, spent = _restore(found, order, checkpointer)
    resumed, started, before = done > 0, time.monotonic(), done
    saved, saved_at = done, started

    def seconds() -> float:
        return spent + time.monotonic() - started

    def save() -> None:
        assert checkpointer is not None
        arrays = {"features": found[order[:done]]}
        checkpointer.save(Snapshot(arrays, {"done": done, "seconds": seconds()}))

    waiting = Waiting()
    try:
        with closing(_pieces(images, done, size)) as to_come:
            for piece in waiting.over(to_come):
                raise_if_stopped(checkpointer)
                found[order[done : done + len(piece)]] = extract(piece)
                done += len(piece)
                now = time.monotonic()
                rate = (done - before) / max(now - started, 1e-9)
                left, share = (total - done) / rate, done / total
                on_progress(Progress("features", 1, 1, share, rate, left, waiting=waiting.share))
                due = now - saved_at > SAVE_EVERY and done >= GROWTH * saved
                if checkpointer and due and done < total:
                    save()
                    saved, saved_at = done, now
    except TrainingInterrupted:
        assert checkpointer is not None
        save()
        checkpointer.wait()
        raise
    if checkpointer:
        checkpointer.wait()
    trained = len(images[0])
    return Computed({"train": found[:trained], "test": found[trained:]}, seconds(), resumed)


def _order(images: list[Images]) -> np.ndarray:
    """Positions of all images, one split after the other, in the order in which they are read: (n,) int64."""
    train, test = images
    return np.concatenate([stored_order(train), len(train) + stored_order(test)])


def _pieces(images: list[Images], begin: int, size: int) -> Generator[np.ndarray, None, None]:
    """Yield the images from place `begin` in that order on, up to `size` of one split at a time."""
    for part in images:
        first = min(begin, len(part))
        begin -= first
        for _, piece in pieces(part, size, first):
            yield piece


def _restore(
    found: np.ndarray, order: np.ndarray, checkpointer: Checkpointer | None
) -> tuple[int, float]:
    """Fill in what a checkpoint has; return how many images that is, and the seconds that they took."""
    snapshot = checkpointer.load() if checkpointer else None
    if snapshot is None:
        return 0, 0.0
    features, done = snapshot.arrays["features"], int(snapshot.values["done"])
    found[order[:done]] = features
    return done, float(snapshot.values["seconds"])
