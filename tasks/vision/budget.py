"""What a fit is given and what it tells: examples, a budget, its past, its progress."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tasks.vision.augment import evenly


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


@dataclass(frozen=True)
class Budget:
    """How long and how a fit trains; the recipe's settings with the phase's own epochs.

    The first `early_epochs` see images of `early_size` pixels: progressive resizing (Howard, fast.ai
    2018; Tan and Le, arXiv 2104.00298, sec. 4).
    """

    epochs: int
    batch_size: int
    label_smoothing: float
    flip: bool
    shift: int
    keep_best: bool
    early_epochs: int = 0
    early_size: int = 0
    prior_shift: np.ndarray | None = None


@dataclass
class Progress:
    """What a person following the training sees."""

    phase: str
    epoch: int
    epochs: int
    share: float
    images_per_second: float
    seconds_left: float
    row: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Past:
    """What the stage's earlier phases leave behind: their history and their seconds."""

    history: tuple[dict[str, float], ...] = ()
    seconds: float = 0.0
