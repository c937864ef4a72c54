"""Configuration, history and progress of one fit, and the checkpoints from which it resumes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from tasks.vision.recipe.schema import Balance, Stage
from tasks.vision.trained_model import Tensors


@dataclass(frozen=True)
class FitConfig:
    """The recipe's settings for one fit, with the phase's own number of epochs.

    The first `early_epochs` see images of `early_size` pixels: progressive resizing (Howard, fast.ai
    2018; Tan and Le, arXiv 2104.00298, sec. 4).

    Attributes:
        settled: the best epoch counts only where it is clearly better than the last (`settled_epoch`).
        balance: how often an epoch has images of rare targets (`data.balance`).
        patience: number of epochs without a better one on validation after which the phase ends.
        photos: change images as `augment_photos` does, instead of `flip` and `shift`.
        micro_batch: images that pass the network at a time, None for the usual number; and as many in
            validation.
    """

    epochs: int
    batch_size: int
    label_smoothing: float
    flip: bool
    shift: int
    keep_best: bool
    settled: bool = False
    balance: Balance = "none"
    patience: int | None = None
    early_epochs: int = 0
    early_size: int = 0
    prior_shift: np.ndarray | None = None
    photos: bool = False
    micro_batch: int | None = None

    @classmethod
    def of(
        cls, stage: Stage, prior_shift: np.ndarray | None, micro_batch: int | None = None
    ) -> FitConfig:
        """Return a stage's configuration for training all its layers."""
        resize = stage.progressive_resize
        return cls(
            epochs=stage.epochs,
            batch_size=stage.batch_size,
            label_smoothing=stage.label_smoothing,
            flip=stage.flip,
            shift=stage.shift,
            keep_best=stage.restore == "best",
            balance=stage.balance,
            patience=stage.patience,
            # The last epoch is always on images of full size, which the model is for.
            early_epochs=min(resize.epochs, stage.epochs - 1) if resize else 0,
            early_size=resize.image_size if resize else 0,
            prior_shift=prior_shift,
            photos=stage.augment == "photos",
            micro_batch=micro_batch,
        )


@dataclass
class Progress:
    """Progress of a training.

    Attributes:
        phase: "features", "head" or "all". epoch: 1-based, of `epochs`.
        share: of the phase's steps that are done, 0 to 1.
        row: the epoch's losses and accuracies at its end, else empty.
        waiting: share of the epoch's time in which no step could be taken, since images had not been read.
    """

    phase: str
    epoch: int
    epochs: int
    share: float
    images_per_second: float
    seconds_left: float
    row: dict[str, float] = field(default_factory=dict)
    waiting: float = 0.0


@dataclass(frozen=True)
class PreviousPhases:
    """History and duration of the stage's earlier phases, and whether one of them was resumed."""

    history: tuple[dict[str, float], ...] = ()
    seconds: float = 0.0
    resumed: bool = False


class Diverged(RuntimeError):
    """The loss exploded; the message names the epoch, and the setting to change."""


class TrainingInterrupted(BaseException):
    """The training was asked to stop; its last snapshot resumes it with the same bits."""


@dataclass
class Snapshot:
    """Arrays by name (weights, statistics, optimizer slots), and the rest as JSON values."""

    arrays: Tensors
    values: dict[str, Any]


class Checkpointer(Protocol):
    """Saves and loads snapshots, and says when to stop."""

    def load(self) -> Snapshot | None:
        """Return the newest undamaged snapshot, or None."""

    def due(self) -> bool:
        """Return whether to save a snapshot after an epoch; the last epoch's is always saved."""

    def save(self, snapshot: Snapshot) -> None:
        """Replace the previous snapshot; may return before the bytes are written."""

    def asked(self) -> bool:
        """Return whether this machine should stop; of several machines, others may not know."""

    def stop(self) -> bool:
        """Return whether the training should save and stop now; the same on all machines."""

    def wait(self) -> None:
        """Block until all pending checkpoints are written."""


def raise_if_stopped(checkpointer: Checkpointer | None) -> None:
    """Raise TrainingInterrupted if the training should stop; called every second or two."""
    if checkpointer and checkpointer.stop():
        raise TrainingInterrupted
