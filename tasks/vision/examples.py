"""What a stage learns from: the images of a data set that its label scheme takes, as it counts them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.vision.augment import evenly
from tasks.vision.dataset import Dataset
from tasks.vision.labels import Targets


@dataclass(frozen=True)
class Examples:
    """What a model trains on: (n, ...) inputs and (n,) int32 target indices."""

    inputs: np.ndarray
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.targets)

    def some(self, most: int) -> Examples:
        """At most so many of them, evenly spread."""
        chosen = evenly(len(self), most)
        return Examples(self.inputs[chosen], self.targets[chosen])


def lesson_of(data: Dataset, targets: Targets) -> tuple[Examples, Examples, np.ndarray]:
    """Training and validation examples, and the prior shift (outputs,) that the limits call for."""
    parts = []
    for split in ("train", "validation"):
        part = data.part(split)
        chosen, indices = targets.choose(data.classes, part.labels, limited=split == "train")
        parts.append(Examples(part.images[chosen], indices))
    return parts[0], parts[1], targets.prior_shift(data.classes, data.labels("train"))
