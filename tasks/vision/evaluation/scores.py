"""Types of a model's scores on labelled images; they are stored as JSON."""

from __future__ import annotations

from tasks.vision.recipe.schema import Strict


class Bin(Strict):
    """Images whose confidence is in one of 15 equal bins: mean confidence, accuracy and count."""

    confidence: float
    accuracy: float
    count: int


class Metrics(Strict):
    """Scores as single numbers, or one number for each label; shares are from 0 to 1.

    Attributes:
        accuracy_interval: 95 % (Wilson 1927). majority: of always predicting the commonest label.
        roc_auc, pr_auc: of the first of two labels. ece: expected calibration error.
        brier: of the whole distribution, 0 best, 2 worst. accuracy_tta: averaged over augmented copies.
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
    accuracy_tta: float | None = None


class Scores(Strict):
    """Summary of a model's predictions on labelled images.

    Attributes:
        confusion: counts, rows the true labels and columns the predicted ones.
        confused: the most frequent mistakes: (true label, predicted label, count).
    """

    labels: list[str]
    confusion: list[list[int]]
    confused: list[tuple[str, str, int]]
    reliability: list[Bin]
    metrics: Metrics
