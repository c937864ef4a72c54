"""The head on fixed features is the solution of its problem, with a penalty chosen on validation."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tasks.vision.data.batches.targets import Examples
from tasks.vision.errors import BadInput
from tasks.vision.evaluation.probabilities import probabilities
from tasks.vision.training import linear_head
from tasks.vision.training.linear_head import LinearHead, fit_head


def examples(n: int, labels: int, seed: int = 1) -> Examples:
    """Features of different scales and offsets, of which the first tell the label; the last is constant."""
    random = np.random.default_rng(seed)
    targets = random.integers(0, labels, n).astype(np.int32)
    features = random.normal(size=(n, 12))
    features[np.arange(n), targets] += 1.5
    features = features * np.logspace(-2, 2, 12) + np.linspace(-50, 50, 12)
    features[:, -1] = 3.0
    return Examples(features.astype(np.float32), targets)


def fit(
    labels: int = 3, outputs: int = 3, threads: int = 1
) -> tuple[LinearHead, Examples, Examples]:
    train, validation = examples(700, labels), examples(300, labels, seed=2)
    return fit_head(train, validation, outputs, threads=threads), train, validation


@pytest.mark.parametrize(("labels", "outputs"), [(3, 3), (2, 1)])
def test_head_is_the_minimum_that_scikit_learn_finds(labels: int, outputs: int) -> None:
    head, train, validation = fit(labels, outputs)
    chosen = head.path[head.chosen]
    features = np.asarray(train.inputs)
    mean, scale = features.mean(0, dtype=float), features.std(0, dtype=float)
    scale[-1] = 1.0
    # With two labels, scikit-learn's binary problem is the same as that of one output.
    strength = 1 / (chosen.strength * len(train))
    other = LogisticRegression(C=strength, tol=1e-6, max_iter=1000)
    other.fit((train.inputs - mean) / scale, 1 - train.targets if outputs == 1 else train.targets)
    theirs = other.predict_proba((validation.inputs - mean) / scale)
    theirs = theirs[:, ::-1] if outputs == 1 else theirs
    ours = probabilities(validation.inputs @ head.kernel + head.bias)
    np.testing.assert_allclose(ours, theirs, atol=0.01)
    loss = -np.log(ours[np.arange(len(validation)), validation.targets]).mean()
    assert chosen.validation_loss == pytest.approx(loss, abs=1e-4)


def test_penalty_has_the_lowest_validation_loss_of_those_tried() -> None:
    head, _, _ = fit()
    losses = [step.validation_loss for step in head.path]
    assert losses[head.chosen] == min(losses)
    strengths = [step.strength for step in head.path]
    assert strengths == sorted(strengths, reverse=True)
    assert len(head.path) - 1 - head.chosen <= linear_head.WORSE


def test_bits_depend_on_no_number_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_head, "PART", 100)
    one, _, _ = fit()
    other, _, _ = fit(threads=5)
    assert one.kernel.tobytes() == other.kernel.tobytes()
    assert one.bias.tobytes() == other.bias.tobytes()


def test_prior_shift_is_for_training_alone() -> None:
    train, validation = examples(700, 3), examples(300, 3, seed=2)
    shift = np.array([np.log(0.2), 0, 0], np.float32)
    plain, shifted = (
        probabilities(validation.inputs @ head.kernel + head.bias).mean(0)
        for head in (fit_head(train, validation, 3), fit_head(train, validation, 3, shift))
    )
    assert shifted[0] > plain[0] + 0.1


def test_features_that_are_not_finite_are_refused() -> None:
    train, validation = examples(50, 3), examples(20, 3)
    np.asarray(train.inputs)[3, 3] = np.nan
    with pytest.raises(BadInput, match="not finite"):
        fit_head(train, validation, 3)
