"""Augmentation of photos: a random part of each, mirrored, in other light; a function of (seed, epoch).

The part has a random area and shape and is scaled to the whole size (Szegedy et al., arXiv 1409.4842,
sec. 6), so that objects come in many sizes. Brightness, contrast and colour change a little (Howard,
arXiv 1312.5402, sec. 2).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image, ImageEnhance

from tasks.vision.data.images import Images

PHOTOS = 3  # of augment.ORDER, SHIFT and FLIP
AREA = (0.35, 1.0)  # of the part, as a share of the photo
SHAPE = (3 / 4, 4 / 3)  # its width by its height
LIGHT = 0.2  # largest change of brightness, contrast and colour, as a share
CHANGES: tuple[Callable[[Image.Image], ImageEnhance._Enhance], ...] = (
    ImageEnhance.Brightness,
    ImageEnhance.Contrast,
    ImageEnhance.Color,
)


@dataclass(frozen=True)
class PhotoChanges:
    """What happens to each of n photos in one epoch.

    Attributes:
        boxes: (n, 4) left, top, right and bottom of the part, from 0 to 1.
        mirror: (n,) bool. light: (n, 3) factors of brightness, contrast and colour.
    """

    boxes: np.ndarray
    mirror: np.ndarray
    light: np.ndarray


def photo_changes(seed: int, epoch: int, n: int) -> PhotoChanges:
    """Draw the changes to `n` photos for this epoch."""
    generator = np.random.default_rng([seed, epoch, PHOTOS])
    area = generator.uniform(*AREA, n)
    shape = np.exp(generator.uniform(math.log(SHAPE[0]), math.log(SHAPE[1]), n))
    # A side that would be longer than the photo is as long as that.
    sides = np.minimum(np.sqrt(np.stack([area * shape, area / shape], 1)), 1.0)
    corner = generator.random((n, 2)) * (1 - sides)
    return PhotoChanges(
        np.concatenate([corner, corner + sides], 1),
        generator.random(n) < 0.5,
        generator.uniform(1 - LIGHT, 1 + LIGHT, (n, 3)),
    )


def photo_batch(
    images: Images, chosen: np.ndarray, changes: PhotoChanges, size: int, threads: Executor
) -> np.ndarray:
    """Return one batch of augmented photos: (b, size, size, 3) uint8.

    Args:
        images: n photos, each (height, width, 3) uint8. chosen: (b,) indices of the batch's photos.
        changes: to all n photos. size: of the result, in pixels. threads: change several photos at a time.
    """
    change = partial(_changed, images, changes, size)
    return np.stack(list(threads.map(change, chosen)))


def _changed(images: Images, changes: PhotoChanges, size: int, index: int) -> np.ndarray:
    image = images[int(index)]
    height, width, _ = image.shape
    left, top, right, bottom = changes.boxes[index]
    photo = Image.fromarray(image).resize(
        (size, size),
        Image.Resampling.BICUBIC,
        box=(left * width, top * height, right * width, bottom * height),
    )
    if changes.mirror[index]:
        photo = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for change, factor in zip(CHANGES, changes.light[index], strict=True):
        photo = change(photo).enhance(factor)
    return np.asarray(photo)
