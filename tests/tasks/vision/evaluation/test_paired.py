"""Two models on the same images: agreement with scikit-learn's scores, and few false alarms."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from tasks.vision.evaluation.paired import paired_scores

LABELS = ["cat", "dog", "owl"]
# Of 300 images, 20 are owls.
TRUTH = np.repeat([0, 1, 2], [180, 100, 20])


def answers(random: np.random.Generator, wrong: list[float]) -> np.ndarray:
    """Answers that are wrong with a probability for each true label."""
    missed = random.random(len(TRUTH)) < np.array(wrong)[TRUTH]
    return np.where(missed, (TRUTH + 1) % 3, TRUTH)


def test_balanced_accuracy_is_the_mean_of_recalls() -> None:
    random = np.random.default_rng(0)
    first, second = answers(random, [0.1, 0.1, 0.5]), answers(random, [0.1, 0.1, 0.1])
    found = paired_scores(TRUTH, first, second, LABELS, "balanced_accuracy")
    expected = [balanced_accuracy_score(TRUTH, each) for each in (first, second)]
    assert found.scores == pytest.approx(expected)
    assert found.difference == pytest.approx(expected[1] - expected[0])
    assert found.interval[0] < found.difference < found.interval[1]
    assert found.recall["owl"] == pytest.approx(
        [(each[TRUTH == 2] == 2).mean() for each in (first, second)]
    )
    by_accuracy = paired_scores(TRUTH, first, second, LABELS)
    # Owls are few: what is won there counts more when it is balanced.
    assert found.difference > 2 * by_accuracy.difference
    assert (found.p < 0.05, found.interval[0] > 0) == (True, True)


def test_a_label_without_images_has_no_recall() -> None:
    truth = np.zeros(5, int)
    found = paired_scores(truth, truth, np.ones(5, int), LABELS, "balanced_accuracy")
    assert found.recall == {"cat": (1.0, 0.0)}
    assert found.difference == -1


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy"])
def test_equally_good_models_are_seldom_called_different(metric: str) -> None:
    random, alarms, draws = np.random.default_rng(1), 0, 60
    for _ in range(draws):
        first, second = (answers(random, [0.1, 0.2, 0.3]) for _ in range(2))
        found = paired_scores(TRUTH, first, second, LABELS, metric)  # type: ignore[arg-type]
        alarms += found.p < 0.05 and not found.interval[0] <= 0 <= found.interval[1]
    assert alarms <= 8, "3 are expected"
