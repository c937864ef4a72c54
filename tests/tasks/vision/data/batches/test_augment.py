"""Order, flips and shifts depend on (seed, epoch) alone; batches apply them to the pixels."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.vision.data.batches import augment
from tasks.vision.training.gpu_batches import GpuFeatures, GpuImages


def test_order_depends_on_seed_and_epoch_alone() -> None:
    assert (augment.order(3, 5, 100) == augment.order(3, 5, 100)).all()
    assert sorted(augment.order(3, 5, 100)) == list(range(100))
    assert (augment.order(3, 5, 100) != augment.order(3, 6, 100)).any()
    assert (augment.order(3, 5, 100) != augment.order(4, 5, 100)).any()


def test_mirrored_alternates_between_epochs() -> None:
    first, second = (augment.mirrored(0, epoch, 1000) for epoch in (1, 2))
    assert (first ^ second).all()
    assert 400 < first.sum() < 600


def test_batch_mirrors_and_moves_images() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    flips = np.array([False, True, False])
    centre = np.full((3, 2), 2)
    same, mirrored, _ = augment.batch(images, np.arange(3), flips, centre, 2)
    assert (same == images[0]).all()
    assert (mirrored == images[1][:, ::-1]).all()
    moves = np.array([[0, 2], [2, 2], [4, 3]])
    moved = augment.batch(images, np.array([2, 0]), None, moves, 2)
    # A crop two rows further down and one column to the right; the edge is reflected.
    assert (moved[0][:6, :7] == images[2][2:, 1:]).all()
    assert (moved[0][6, :7] == images[2][6, 1:]).all()
    assert (moved[1][2:] == images[0][:6]).all()


def test_batch_leaves_its_input_unchanged() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    before = images.copy()
    augment.batch(images, np.arange(4), np.ones(4, bool), augment.shifts(0, 1, 4, 2), 2)
    assert (images == before).all()


@pytest.mark.parametrize("reach", [0, 2, 3])
@pytest.mark.parametrize("flip", [False, True])
def test_gpu_images_are_the_bytes_of_batch(reach: int, flip: bool) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 9, 9, 3), dtype=np.uint8)
    chosen = augment.order(0, 1, 40)[:30]
    flips = augment.mirrored(0, 1, 40) if flip else None
    moves = augment.shifts(0, 1, 40, reach) if reach else None
    cut = GpuImages(images)(chosen, flips, moves, reach).numpy()
    assert (cut == augment.batch(images, chosen, flips, moves, reach)).all()


def test_gpu_features_are_selected_and_widened() -> None:
    features = np.random.default_rng(0).normal(size=(40, 7)).astype(np.float16)
    chosen = augment.order(0, 1, 40)[:30]
    picked = GpuFeatures(features)(chosen, None, None, 0).numpy()
    assert picked.dtype == np.float32
    assert (picked == features[chosen]).all()
