"""What a fit is given, what it tells, and what a stopped one keeps to go on with the same bits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from tasks.vision.trained_model import Tensors


@dataclass(frozen=True)
class FitConfig:
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
class PreviousPhases:
    """What the stage's earlier phases leave behind: their history, their seconds, their stops."""

    history: tuple[dict[str, float], ...] = ()
    seconds: float = 0.0
    resumed: bool = False


class TrainingInterrupted(BaseException):
    """Someone asked the training to stop; it can go on from its last snapshot."""


@dataclass
class Snapshot:
    """Arrays by name (weights, statistics, optimizer slots), and small plain values."""

    arrays: Tensors
    values: dict[str, Any]


class Checkpointer(Protocol):
    """Where snapshots are kept, and who says when to stop."""

    def load(self) -> Snapshot | None:
        """The newest whole snapshot, or None."""

    def save(self, snapshot: Snapshot) -> None:
        """Keep this snapshot instead of the one before; may return before the bytes are down."""

    def stop(self) -> bool:
        """Whether the training should save and end now."""

    def wait(self) -> None:
        """Return when everything saved is down."""


def raise_if_stopped(checkpointer: Checkpointer | None) -> None:
    """Raise TrainingInterrupted where someone asks the training to stop; called every second or two."""
    if checkpointer and checkpointer.stop():
        raise TrainingInterrupted
