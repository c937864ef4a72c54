"""Scores of a model on the test split: scikit-learn's metrics, intervals, calibration."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import binomtest  # imported with sklearn.metrics in any case
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
    roc_auc_score,
)

BINS = 15


def scores(truth: np.ndarray, probabilities: np.ndarray, labels: list[str]) -> dict[str, Any]:
    """Score predictions for the report; returns plain JSON.

    Args:
        truth: (n,) target indices. probabilities: (n, labels).

    Returns:
        accuracy with its 95 % interval (Wilson 1927), `majority` (accuracy of always predicting the most
        frequent label), balanced accuracy, precision and recall by label; for two labels also ROC-AUC
        and PR-AUC of the first; and `calibration`. The Brier score is of the whole distribution, 0 best,
        2 worst.
    """
    predicted = probabilities.argmax(1)
    columns = np.arange(len(labels))
    correct = int((predicted == truth).sum())
    precision, recall, _, _ = precision_recall_fscore_support(
        truth, predicted, labels=columns, zero_division=0.0
    )
    binary = len(labels) == 2
    positive = (truth == 0).astype(int)
    both = binary and 0 < positive.sum() < len(positive)
    return {
        "images": len(truth),
        "accuracy": correct / len(truth),
        "accuracy_interval": list(wilson(correct, len(truth))),
        "majority": float(np.bincount(truth, minlength=len(labels)).max() / len(truth)),
        "balanced_accuracy": float(balanced_accuracy_score(truth, predicted)),
        "recall": dict(zip(labels, map(float, recall), strict=True)),
        "precision": dict(zip(labels, map(float, precision), strict=True)),
        "roc_auc": float(roc_auc_score(positive, probabilities[:, 0])) if both else None,
        "pr_auc": float(average_precision_score(positive, probabilities[:, 0])) if both else None,
        **calibration(truth, probabilities),
    }


def calibration(truth: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Return ECE, Brier score and log loss (nats) of probabilities (n, labels)."""
    columns = np.arange(probabilities.shape[1])
    chances = probabilities.astype(np.float64)
    chances /= chances.sum(1, keepdims=True)  # log_loss warns of sums that float32 has rounded
    return {
        "ece": expected_calibration_error(reliability(truth, probabilities)),
        "brier": float(brier_score_loss(truth, probabilities, labels=columns, scale_by_half=False)),
        "log_loss": float(log_loss(truth, chances, labels=columns)),
    }


def confusion(truth: np.ndarray, probabilities: np.ndarray, labels: list[str]) -> list[list[int]]:
    """Return counts; rows are true labels, columns predicted ones."""
    matrix = confusion_matrix(truth, probabilities.argmax(1), labels=np.arange(len(labels)))
    return [[int(count) for count in row] for row in matrix]


def confused_pairs(matrix: list[list[int]], labels: list[str], most: int = 5) -> list[list[Any]]:
    """Return the most frequent mistakes: [true label, predicted label, count]."""
    pairs: list[list[Any]] = [
        [labels[i], labels[j], count]
        for i, row in enumerate(matrix)
        for j, count in enumerate(row)
        if i != j and count
    ]
    return sorted(pairs, key=lambda pair: pair[2], reverse=True)[:most]


def wilson(correct: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927): accurate for small n and near 0 or 1."""
    interval = binomtest(correct, n).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def reliability(truth: np.ndarray, probabilities: np.ndarray) -> list[dict[str, float]]:
    """Bin predictions by confidence; returns mean confidence, accuracy and count of non-empty bins."""
    confidence = probabilities.max(1)
    correct = probabilities.argmax(1) == truth
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return [
        {
            "confidence": float(confidence[chosen].mean()),
            "accuracy": float(correct[chosen].mean()),
            "count": int(chosen.sum()),
        }
        for b in range(BINS)
        if (chosen := bins == b).any()
    ]


def expected_calibration_error(bins: list[dict[str, float]]) -> float:
    """Return the mean gap between confidence and accuracy over 15 equal bins (arXiv 1706.04599, sec. 2)."""
    total = sum(b["count"] for b in bins)
    return sum(b["count"] * abs(b["confidence"] - b["accuracy"]) for b in bins) / total
