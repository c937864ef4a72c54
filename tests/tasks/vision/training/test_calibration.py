"""The temperature of a head: found on validation images where they are enough, and never certain."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.vision.evaluation.probabilities import (
    log_loss,
    probabilities,
    without_temperature,
)
from tasks.vision.training.calibration import LEAST, fit_temperature


def drawn(n: int, outputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and targets drawn with the probabilities that they mean."""
    random = np.random.default_rng(0)
    logits = random.normal(size=(n, outputs)) * 2
    chances = probabilities(logits)
    return logits, np.array([random.choice(chances.shape[1], p=row) for row in chances])


@pytest.mark.parametrize("outputs", [1, 4])
def test_overconfident_logits_are_divided_by_what_they_were_multiplied_by(outputs: int) -> None:
    logits, targets = drawn(2000, outputs)
    found = fit_temperature(3 * logits, targets)
    assert found == pytest.approx(3, rel=0.1)
    assert log_loss(3 * logits / found, targets) < log_loss(3 * logits, targets)
    after = probabilities(3 * logits / found)
    np.testing.assert_allclose(without_temperature(after, found), probabilities(3 * logits))


def test_few_images_change_nothing() -> None:
    logits, targets = drawn(LEAST - 1, 4)
    assert fit_temperature(3 * logits, targets) == 1


def test_images_that_are_all_right_make_no_head_certain() -> None:
    logits = np.eye(4)[np.arange(200) % 4]
    found = fit_temperature(logits, np.arange(200) % 4)
    assert 0.9 < probabilities(logits / found).max() < 0.99
