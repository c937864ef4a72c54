"""Stop a training whose validation accuracy is below the median of earlier ones after the same epoch.

The median rule of Google Vizier (Golovin et al., KDD 2017, section 3.2.2). Only trainings with the same
schedule, seed and images are compared. One that is stopped has no model, so nothing of it enters the cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median

from pydantic import Field

from tasks.progress import Event, listening
from tasks.runs.sweeps.search_record import Digest, Number, Stopped
from tasks.vision.recipe.schema import Strict

LEAST = 5  # trainings that a median is of
SPARED = 4  # a quarter of the epochs, rounded up, says too little
# With other values of these, an epoch has another learning rate or sees other images.
SCHEDULE = {"epochs", "head_epochs", "progressive_resize", "train", "start", "batch_size"}


class EarlyStop(Strict):
    """When a training of a search is to stop.

    Attributes:
        search, number: the settings that are tried, in the search's record.
        medians: validation accuracy of earlier trainings after each epoch.
    """

    search: Digest
    number: Number
    medians: tuple[float, ...] = Field(max_length=100_000)


class Hopeless(RuntimeError):
    """A training was stopped early; the message is the reason."""

    def __init__(self, stopped: Stopped) -> None:
        super().__init__(stopped)
        self.stopped = stopped

    def __str__(self) -> str:
        """Return the reason."""
        return self.stopped.reason


def is_comparable(paths: Sequence[str]) -> bool:
    """True if trainings can be compared by epoch when these keys of a recipe are varied."""
    return not {path.rpartition(".")[2] for path in paths} & SCHEDULE


def median_curve(curves: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Return the median after each epoch that `LEAST` curves have; empty if there are fewer curves.

    >>> median_curve([[0.1, 0.5], [0.3, 0.6], [0.2, 0.7], [0.5, 0.9], [0.4]])
    (0.3,)
    """
    longest = max(map(len, curves), default=0)
    at = ([curve[epoch] for curve in curves if len(curve) > epoch] for epoch in range(longest))
    return tuple(median(values) for values in at if len(values) >= LEAST)


@contextmanager
def stopping_early(stage: str, stop: EarlyStop | None) -> Iterator[None]:
    """Stop the training of a stage inside the block by `stop`.

    Raises:
        Hopeless: after an epoch, not the last, the best accuracy so far was below the median.
    """
    if stop is None or not stop.medians:
        yield
        return
    curve: dict[int, float] = {}
    tasks, epochs = {f"train {stage}", f"fine-tune {stage}"}, len(stop.medians)

    def check(event: Event) -> None:
        row = event.detail.row if event.task in tasks and event.detail else None
        if not row:
            return
        epoch = int(row["epoch"])
        curve[epoch] = round(row["validation_accuracy"], 6)
        if -(-epochs // SPARED) <= epoch < epochs and max(curve.values()) < (
            limit := stop.medians[epoch - 1]
        ):
            reason = (
                f"after epoch {epoch} of {epochs}: validation accuracy {max(curve.values()):.4f}, "
                f"the median of others {limit:.4f}"
            )
            raise Hopeless(Stopped(reason=reason, curve=tuple(curve.values())))

    with listening(check):
        yield
