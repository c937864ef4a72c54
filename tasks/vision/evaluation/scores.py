"""Types of a model's scores on labelled images; they are stored as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from pydantic import model_validator

from tasks.vision.recipe.schema import Strict

Cells = tuple[tuple[int, int, int], ...]


class Bin(Strict):
    """Images whose confidence is in one of 15 equal bins: mean confidence, accuracy and count."""

    confidence: float
    accuracy: float
    count: int


class Calibration(Strict):
    """How far probabilities are from the truth; lower is better. As in `Metrics`."""

    ece: float
    brier: float
    log_loss: float


class Metrics(Strict):
    """Scores as single numbers, or one number for each label; shares are from 0 to 1.

    Attributes:
        accuracy_interval: 95 % (Wilson 1927). majority: of always predicting the commonest label.
        roc_auc, pr_auc: of the first of two labels. ece: expected calibration error.
        brier: of the whole distribution, 0 best, 2 worst. log_loss: mean cross-entropy in nats.
        uncalibrated: before the logits were divided by a temperature, if they were.
        accuracy_tta: averaged over augmented copies.
    """

    images: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    majority: float
    balanced_accuracy: float
    recall: dict[str, float]
    precision: dict[str, float]
    roc_auc: float | None
    pr_auc: float | None
    ece: float
    brier: float
    log_loss: float | None = None
    uncalibrated: Calibration | None = None
    accuracy_tta: float | None = None


class Scores(Strict):
    """Summary of a model's predictions on labelled images.

    Attributes:
        cells: of the confusion matrix that aren't 0: row, column, count. The whole matrix of 1,000 labels
            would take a minute on its way through Prefect.
        confused: the most frequent mistakes: (true label, predicted label, count).
    """

    labels: list[str]
    cells: Cells
    confused: list[tuple[str, str, int]]
    reliability: list[Bin]
    metrics: Metrics

    @model_validator(mode="after")
    def _cells_fit(self) -> Scores:
        if any(not 0 <= index < len(self.labels) for i, j, _ in self.cells for index in (i, j)):
            raise ValueError("a cell lies outside of the confusion matrix")
        return self

    @cached_property
    def confusion(self) -> list[list[int]]:
        """Counts, rows the true labels and columns the predicted ones."""
        matrix = [[0] * len(self.labels) for _ in self.labels]
        for row, column, count in self.cells:
            matrix[row][column] = count
        return matrix


def cells_of(matrix: Sequence[Sequence[int]]) -> Cells:
    """The cells of a confusion matrix that aren't 0."""
    return tuple((i, j, n) for i, row in enumerate(matrix) for j, n in enumerate(row) if n)
