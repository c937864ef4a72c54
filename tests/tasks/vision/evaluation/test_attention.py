"""Which answers get a map of where the model looked, and what is no such map."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.vision.evaluation.attention import Maps, some_answers


def test_maps_are_for_correct_answers_and_the_most_confident_mistakes() -> None:
    truth = np.array([0] * 8 + [1] * 8)
    sure = 0.5 + np.arange(16) / 100
    probabilities = np.stack([sure, 1 - sure], 1)  # all say 0, the last most confidently
    assert some_answers(truth, probabilities).tolist() == [0, 2, 4, 7, 15, 14, 13, 12]
    assert some_answers(truth[:3], probabilities[:3]).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("answers", "evidence"),
    [
        (np.array([3]), np.zeros((1, 28, 28), np.uint8)),
        (np.array([-1]), np.zeros((1, 28, 28), np.uint8)),
        (np.array([0.0]), np.zeros((1, 28, 28), np.uint8)),
        (np.array([0]), np.zeros((1, 28, 28), np.float32)),
        (np.array([0]), np.zeros((1, 28), np.uint8)),
        (np.array([0]), np.zeros((2, 28, 28), np.uint8)),
        (np.array([0]), np.zeros((1, 0, 28), np.uint8)),
    ],
)
def test_other_arrays_are_no_maps(answers: np.ndarray, evidence: np.ndarray) -> None:
    Maps(np.array([2]), np.zeros((1, 28, 28), np.uint8)).check(3)
    with pytest.raises(ValueError, match="map"):
        Maps(answers, evidence).check(3)
