"""Scores of a model on the test split: counts, intervals, calibration. scikit-learn does what it has."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    confusion_matrix,
    precision_recall_fscore_support,
    roc_auc_score,
)

Z = 1.959964  # two-sided 95 % of the normal distribution
BINS = 15


def scores(truth: np.ndarray, probabilities: np.ndarray, labels: list[str]) -> dict[str, Any]:
    """Everything the report says about a model's predictions, as plain JSON.

    Args:
        truth: (n,) target indices. probabilities: (n, labels).

    Returns:
        accuracy with its 95 % interval (Wilson 1927), `majority` (always the commonest label),
        balanced accuracy, precision and recall by label; for two labels also ROC-AUC and PR-AUC of
        the first; ECE and the Brier score (of the whole distribution, 0 best, 2 worst).
    """
    guess = probabilities.argmax(1)
    columns = np.arange(len(labels))
    right = int((guess == truth).sum())
    precision, recall, _, _ = precision_recall_fscore_support(
        truth, guess, labels=columns, zero_division=0.0
    )
    binary = len(labels) == 2
    positive = (truth == 0).astype(int)
    both = binary and 0 < positive.sum() < len(positive)
    return {
        "images": len(truth),
        "accuracy": right / len(truth),
        "accuracy_interval": list(wilson(right, len(truth))),
        "majority": float(np.bincount(truth, minlength=len(labels)).max() / len(truth)),
        "balanced_accuracy": float(balanced_accuracy_score(truth, guess)),
        "recall": dict(zip(labels, map(float, recall), strict=True)),
        "precision": dict(zip(labels, map(float, precision), strict=True)),
        "roc_auc": float(roc_auc_score(positive, probabilities[:, 0])) if both else None,
        "pr_auc": float(average_precision_score(positive, probabilities[:, 0])) if both else None,
        "ece": expected_calibration_error(reliability(truth, probabilities)),
        "brier": float(brier_score_loss(truth, probabilities, labels=columns, scale_by_half=False)),
    }


def confusion(truth: np.ndarray, probabilities: np.ndarray, labels: list[str]) -> list[list[int]]:
    """Counts, rows the truth and columns the guess."""
    matrix = confusion_matrix(truth, probabilities.argmax(1), labels=np.arange(len(labels)))
    return [[int(count) for count in row] for row in matrix]


def confused_pairs(matrix: list[list[int]], labels: list[str], most: int = 5) -> list[list[Any]]:
    """The most frequent mistakes: [truth, guess, count]."""
    pairs: list[list[Any]] = [
        [labels[i], labels[j], count]
        for i, row in enumerate(matrix)
        for j, count in enumerate(row)
        if i != j and count
    ]
    return sorted(pairs, key=lambda pair: pair[2], reverse=True)[:most]


def wilson(right: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927): honest for small n and near 0 or 1."""
    share = right / n
    centre = share + Z**2 / (2 * n)
    spread = Z * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    low, high = (centre - spread) / (1 + Z**2 / n), (centre + spread) / (1 + Z**2 / n)
    return float(max(low, 0.0)), float(min(high, 1.0))  # rounding may step over


def reliability(truth: np.ndarray, probabilities: np.ndarray) -> list[dict[str, float]]:
    """Bins of the winning probability: mean confidence, accuracy and count of each that has any."""
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == truth
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return [
        {
            "confidence": float(confidence[chosen].mean()),
            "accuracy": float(right[chosen].mean()),
            "count": int(chosen.sum()),
        }
        for b in range(BINS)
        if (chosen := bins == b).any()
    ]


def expected_calibration_error(bins: list[dict[str, float]]) -> float:
    """Mean gap between confidence and accuracy over 15 equal bins (Guo et al., arXiv 1706.04599)."""
    total = sum(b["count"] for b in bins)
    return sum(b["count"] * abs(b["confidence"] - b["accuracy"]) for b in bins) / total
