"""Settings that were trained several times: noise is seldom called a difference, and a difference is found."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.vision.evaluation.repeated import Trained, compare_repeated, mean_interval
from tasks.vision.evaluation.significance import LEVEL, compare

IMAGES = 200


def trained(
    random: np.random.Generator, hard: np.ndarray, gain: float, seeds: int, folds: int = 1
) -> list[Trained]:
    """Trainings that are wrong about hard images more often; each has a luck of its own."""
    found = []
    for seed in range(seeds):
        for fold in range(folds):
            luck = random.normal(0, 0.01)
            chance = np.clip(0.95 - 0.5 * hard[fold] + gain + luck, 0, 1)
            found.append(Trained(seed, fold + 1, random.random(IMAGES) < chance))
    return found


def share_of_differences(gain: float, seeds: int, folds: int = 1, trials: int = 300) -> float:
    random, count = np.random.default_rng(0), 0
    for _ in range(trials):
        hard = random.random((folds, IMAGES)) < 0.2
        first, second = (trained(random, hard, each, seeds, folds) for each in (0.0, gain))
        found = compare_repeated(first, second)
        count += not found.is_noise(found.p)
    return count / trials


@pytest.mark.parametrize(("seeds", "folds"), [(1, 1), (2, 1), (5, 1), (1, 5), (2, 3)])
def test_equally_good_settings_are_seldom_told_apart(seeds: int, folds: int) -> None:
    assert share_of_differences(0.0, seeds, folds) <= LEVEL + 0.02


def test_a_difference_is_found_the_sooner_the_more_trainings_there_are() -> None:
    few, many = share_of_differences(0.04, 2), share_of_differences(0.04, 8)
    assert few < many
    assert many > 0.8


def test_one_training_each_is_compared_as_two_models_are() -> None:
    random = np.random.default_rng(1)
    first, second = random.random(100) < 0.8, random.random(100) < 0.9
    found, plain = (
        compare_repeated([Trained(0, 1, first)], [Trained(0, 1, second)]),
        compare(first, second),
    )
    assert (found.difference, found.interval, found.p) == (
        *(plain.difference, plain.interval, plain.p),
    )


def test_trainings_are_paired_by_seed_and_fold() -> None:
    right = np.ones(10, bool)
    with pytest.raises(ValueError, match="same seeds and folds"):
        compare_repeated([Trained(0, 1, right)], [Trained(1, 1, right)])
    same = [Trained(seed, 1, right) for seed in range(3)]
    assert compare_repeated(same, same).p == 1


def test_the_interval_of_a_mean_narrows_with_more_trainings() -> None:
    random = np.random.default_rng(2)
    hard = random.random((1, IMAGES)) < 0.2
    widths = []
    for seeds in (2, 5, 20):
        mean, low, high = mean_interval(trained(random, hard, 0.0, seeds))
        assert 0 <= low <= mean <= high <= 1
        widths.append(high - low)
    assert widths[2] < widths[1]
