"""The out-of-distribution score finds what was not learnt, in units that people can read."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tasks.vision.ood_score import OOD_THRESHOLD, OodScore, ood_score_of
from tasks.vision.training import fit_ood_score as fitting
from tasks.vision.training.fit_ood_score import fit_ood_score


def features(n: int, kinds: range, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features after a ReLU, of kinds that have a pattern each, and the kinds."""
    patterns = np.random.default_rng(0).exponential(size=(10, 40))
    random = np.random.default_rng(seed)
    chosen = random.choice(kinds, n)
    found = np.maximum(patterns[chosen] + random.normal(size=(n, 40)) * 0.7, 0)
    return found.astype(np.float32), chosen


def fitted(n: int = 600) -> OodScore:
    train, kinds = features(n, range(6), seed=1)
    return fit_ood_score(train, kinds, features(200, range(6), seed=2)[0])


def test_new_kinds_are_less_like_training() -> None:
    score = fitted()
    known, new = features(300, range(6), seed=3)[0], features(300, range(6, 10), seed=4)[0]
    both, truth = score.shares(np.concatenate([known, new])), np.arange(600) >= 300
    assert roc_auc_score(truth, both) > 0.9
    assert (both[300:] >= OOD_THRESHOLD).mean() > 0.6
    # A share of the validation images: of known kinds, five in a hundred are called unlike training.
    assert (both[:300] >= OOD_THRESHOLD).mean() == pytest.approx(0.05, abs=0.04)


def test_distance_is_relative_to_how_far_training_images_are_apart() -> None:
    """New images are as near to a narrow kind as images of a wide kind are to each other."""
    patterns, random = np.random.default_rng(0).exponential(size=(2, 40)), np.random.default_rng(1)

    def around(kind: int, n: int, noise: float) -> np.ndarray:
        found = np.maximum(patterns[kind] + random.normal(size=(n, 40)) * noise, 0)
        return found.astype(np.float32)

    def known(n: int) -> np.ndarray:
        return np.concatenate([around(0, n, 0.1), around(1, n, 0.6)])

    score = fit_ood_score(known(300), np.arange(600) // 300, known(100))
    both = np.concatenate([known(200), around(0, 400, 0.6)])
    assert roc_auc_score(np.arange(800) >= 400, score.distances(both)[:, 1]) > 0.85


def test_only_the_last_features_count() -> None:
    score, (some, _) = fitted(), features(20, range(10), seed=3)
    more = np.concatenate([np.full((20, 7), 9, np.float32), some], 1)
    np.testing.assert_array_equal(score.shares(more), score.shares(some))


def test_size_is_bounded_whatever_the_number_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "MOST_STORED", 50)
    monkeypatch.setattr(fitting, "MOST_FITTED", 100)
    assert {name: len(value) for name, value in fitted().tensors().items()} == {
        name: len(value) for name, value in fitted(1200).tensors().items()
    }


def test_two_images_are_enough_for_finite_scores() -> None:
    two = np.eye(2, 5, dtype=np.float32)
    score = fit_ood_score(two, np.array([0, 1]), two[:1])
    assert np.isfinite(score.shares(np.eye(5, dtype=np.float32))).all()


def test_arrays_come_back_and_others_are_refused() -> None:
    score = fitted()
    tensors = {"head/bias": np.zeros(3, np.float32), **score.tensors()}
    again = ood_score_of(tensors)
    assert again
    np.testing.assert_array_equal(again.axes, score.axes)
    assert ood_score_of({}) is None
    for name, other in (
        ("unlike/axes", score.axes[:, 1:]),
        ("unlike/centre", score.centre.astype(np.float64)),
        ("unlike/means", score.means[:0]),
        ("unlike/more", score.means),
    ):
        with pytest.raises(ValueError, match=r"out-of-distribution|shape"):
            ood_score_of({**tensors, name: other})
    assert ood_score_of({n: t for n, t in tensors.items() if n != "unlike/spreads"}) is None
    del tensors["unlike/scales"]
    with pytest.raises(ValueError, match="out-of-distribution"):
        ood_score_of(tensors)
