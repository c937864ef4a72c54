"""Near duplicates: the same picture rescaled, compressed again or in another light."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from support.images import coarse_photo, encoded

from tasks.vision.data.splits.near_duplicates import near_duplicates

CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "smaller": lambda image: image.resize((60, 60)).resize((96, 96)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.08),
    "compressed": lambda image: Image.open(
        io.BytesIO(encoded(image, "JPEG", quality=60, subsampling=0))
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_near_duplicates_are_found_and_others_are_not(change: str) -> None:
    photos = [coarse_photo(seed) for seed in range(60)]
    changed = [CHANGES[change](image) for image in photos[:20]]
    images = np.stack([np.asarray(image) for image in photos + changed])
    assert near_duplicates(images).tolist() == [[row, 60 + row] for row in range(20)]


def test_blank_pictures_of_other_shades_are_not_alike() -> None:
    shades = np.array([0, 0, 120, 255, 255], np.uint8)
    images = np.broadcast_to(shades[:, None, None, None], (5, 16, 16, 3))
    assert near_duplicates(images).tolist() == [[0, 1], [3, 4]]


def test_many_images_alike_cost_few_comparisons() -> None:
    images = np.zeros((3000, 16, 16, 3), np.uint8)
    pairs = near_duplicates(images)
    assert len(pairs) <= 3000 * 10
    assert len(np.unique(pairs)) == 3000
