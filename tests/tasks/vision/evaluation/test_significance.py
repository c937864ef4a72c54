"""Paired comparisons against values worked out by hand, plain resampling, and simulated noise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tasks.vision.evaluation.significance import compare, holm, mcnemar, paired_bootstrap


def answers(only_first: int, only_second: int, both: int, neither: int) -> list[np.ndarray]:
    """Correct predictions of two models, by image."""
    counts = [only_first, only_second, both, neither]
    first = np.repeat([True, False, True, False], counts)
    second = np.repeat([False, True, True, False], counts)
    return [first, second]


def test_mcnemars_p_is_the_binomials() -> None:
    assert mcnemar(1, 8) == pytest.approx(2 * (1 + 9) / 2**9)
    assert mcnemar(8, 1) == mcnemar(1, 8)
    tail = sum(math.comb(80, k) for k in range(21))
    assert mcnemar(20, 60) == pytest.approx(2 * tail / 2**80, rel=1e-12)
    assert mcnemar(5, 5) == mcnemar(0, 0) == 1.0
    assert 0 < mcnemar(0, 1000) < 1e-300


def test_interval_is_that_of_resampled_images() -> None:
    first, second = answers(20, 60, 800, 120)
    found = compare(first, second)
    assert found.only_right == (20, 60)
    assert found.difference == pytest.approx(0.04)
    assert found.accuracies == pytest.approx((0.82, 0.86))
    draw = np.random.default_rng(1)
    rows = draw.integers(0, 1000, (4000, 1000))
    plain = second[rows].mean(1) - first[rows].mean(1)
    assert found.interval == pytest.approx(np.quantile(plain, [0.025, 0.975]), abs=0.002)
    assert found.verdict(found.p) == "better"
    assert compare(second, first).verdict(found.p) == "worse"
    assert paired_bootstrap(20, 60, 1000) == found.interval  # the same every time


def test_a_few_answers_that_differ_are_noise() -> None:
    found = compare(*answers(0, 4, 300, 56))
    assert found.interval[0] > 0, "the bootstrap alone would call it more than noise"
    assert found.verdict(found.p) == "noise"
    assert compare(*answers(0, 0, 5, 5)).verdict(1.0) == "noise"


def test_equally_good_models_are_seldom_told_apart() -> None:
    draw = np.random.default_rng(2)
    alarms = 0
    for _ in range(300):
        a, b = draw.random((2, 500)) < 0.9
        found = compare(a, b)
        alarms += found.verdict(found.p) != "noise"
    assert alarms / 300 <= 0.06


def test_several_comparisons_are_judged_together() -> None:
    assert holm([]) == []
    assert holm([0.02, 0.9, 0.01, 0.03]) == pytest.approx([0.06, 0.9, 0.04, 0.06])


def test_answers_to_different_numbers_of_images_are_refused() -> None:
    with pytest.raises(ValueError, match="expected"):
        compare(np.ones(3, bool), np.ones(4, bool))
