"""Scores against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from support.results import bare_scores

from tasks.vision.evaluation import metrics
from tasks.vision.evaluation.scores import cells_of


def test_a_detector_that_always_says_no_is_seen_through() -> None:
    truth = np.array([0] * 10 + [1] * 90)
    never = np.tile([0.1, 0.9], (100, 1))
    scores = metrics.scores(truth, never, ["car", "other"])
    assert scores["accuracy"] == scores["majority"] == 0.9
    assert scores["balanced_accuracy"] == 0.5
    assert scores["recall"] == {"car": 0.0, "other": 1.0}
    assert scores["precision"] == {"car": 0.0, "other": 0.9}
    assert scores["roc_auc"] == 0.5
    assert scores["pr_auc"] == pytest.approx(0.1)
    assert scores["ece"] == pytest.approx(0.0)
    assert scores["brier"] == pytest.approx(2 * (0.1 * 0.81 + 0.9 * 0.01))


def test_the_interval_is_wilsons() -> None:
    # Newcombe 1998, table I: 81 of 263, score method.
    assert metrics.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    # The formula written out, with 1.959964 for the quantile, has rounded that in the seventh digit.
    for correct, n in ((81, 263), (5, 360), (359, 360), (5000, 10_000)):
        share, z = correct / n, 1.959964
        centre = share + z**2 / (2 * n)
        spread = z * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
        expected = ((centre - spread) / (1 + z**2 / n), (centre + spread) / (1 + z**2 / n))
        assert metrics.wilson(correct, n) == pytest.approx(expected, abs=4e-9)
    assert metrics.wilson(100, 100)[1] == 1.0
    assert metrics.wilson(0, 100)[0] == 0.0
    low, high = metrics.wilson(10, 10)
    assert high == pytest.approx(1.0)
    assert 0.6 < low < 0.8


def test_confusion_counts_rows_of_truth_and_names_the_worst_pairs() -> None:
    truth = np.array([0, 0, 1, 2, 2, 2])
    guess = np.eye(3)[[0, 1, 1, 0, 0, 2]]
    matrix = metrics.confusion(truth, guess, ["a", "b", "c"])
    assert matrix == [[1, 1, 0], [0, 1, 0], [2, 0, 1]]
    assert metrics.confused_pairs(matrix, ["a", "b", "c"]) == [["c", "a", 2], ["a", "b", 1]]


def test_over_confidence_shows_as_calibration_error() -> None:
    truth = np.array([0, 1] * 50)
    sure = np.tile([0.95, 0.05], (100, 1))
    bins = metrics.reliability(truth, sure)
    assert [b["count"] for b in bins] == [100]
    assert metrics.expected_calibration_error(bins) == pytest.approx(0.45)


def test_three_labels_have_no_roc_of_a_positive_class() -> None:
    scores = metrics.scores(np.array([0, 1, 2]), np.eye(3), ["a", "b", "c"])
    assert scores["roc_auc"] is None
    assert scores["accuracy"] == 1.0


def test_the_cells_of_a_matrix_are_the_matrix() -> None:
    """Of 1,000 labels they are some thousand numbers in place of a million, in each model's scores."""
    matrix = [[3, 0, 1], [0, 0, 0], [2, 5, 0]]
    cells = cells_of(matrix)
    assert cells == ((0, 0, 3), (0, 2, 1), (2, 0, 2), (2, 1, 5))
    assert bare_scores(["a", "b", "c"]).model_copy(update={"cells": cells}).confusion == matrix
