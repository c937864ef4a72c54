"""What a fit is given and what it tells: a budget, its past, its progress."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


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
    """What the stage's earlier phases leave behind: their history, their seconds, their stops."""

    history: tuple[dict[str, float], ...] = ()
    seconds: float = 0.0
    resumed: bool = False
