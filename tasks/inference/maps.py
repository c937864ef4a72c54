"""Pictures of where a model looked, one for each predicted image."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tasks.vision.figures.attention import attention_picture
from tasks.vision.trained_model import Card, Tensors

if TYPE_CHECKING:
    from collections.abc import Callable

    from tasks.vision.network.predictor import Predictor

LONGEST = 60  # characters of an image's name, and of a label, in the name of its picture


class MapFolder:
    """Writes NUMBER LABEL NAME.png into a folder, in the order of the images."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written = 0

    def write(
        self, names: Sequence[str], labels: Sequence[str], images: np.ndarray, evidence: np.ndarray
    ) -> None:
        """Write a picture for each image.

        Args:
            images: (n, size, size, 3) uint8. evidence: (n, side, side) for each image's label.
        """
        for name, label, image, each in zip(names, labels, images, evidence, strict=True):
            self._written += 1
            stem = name.replace("\\", "/").rpartition("/")[2].rpartition(".")[0]
            title = f"{self._written:05} {_plain(label)} {_plain(stem)}.png"
            attention_picture(image, each).save(self._folder / title)


def evidence_function(
    card: Card, tensors: Tensors, predictor: Predictor
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return a function from images and the index of one label each to maps of the evidence for it.

    Exact for a head on a pretrained network; by covering parts of the image for relevo's own networks.
    """
    if card.pretrained:
        from tasks.vision.pretrained.compute.class_maps import class_maps

        return class_maps(card, tensors)
    from tasks.vision.network.occlusion import occlusion_maps

    return partial(occlusion_maps, predictor)


def _plain(name: str) -> str:
    """A name of characters that every file system takes."""
    return re.sub(r"[^\w .,()+-]+", "_", name).strip(" .")[:LONGEST] or "_"
