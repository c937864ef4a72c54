"""Rare targets more often: shares, repetition, and what becomes of the probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.vision.data.batches.balance import balance_shift, drawn, target_weights
from tasks.vision.data.batches.targets import Examples
from tasks.vision.recipe.schema import Balance
from tasks.vision.training.linear_head import fit_head

TARGETS = np.random.default_rng(0).permutation(np.repeat([0, 1, 3], [900, 90, 10]))


@pytest.mark.parametrize(
    ("balance", "counts"),
    [("none", [900, 90, 0, 10]), ("sqrt", [700, 221, 0, 74]), ("even", [333, 333, 0, 333])],
)
def test_an_epoch_has_the_shares_asked_for(balance: Balance, counts: list[int]) -> None:
    rows = drawn(1, 1, TARGETS, balance)
    assert len(rows) == len(TARGETS)
    found = np.bincount(TARGETS[rows], minlength=4)
    assert np.abs(found - counts).max() <= 5
    for target in (0, 1, 3):
        times = np.bincount(rows, minlength=len(TARGETS))[target == TARGETS]
        assert times.max() - times.min() <= 1, "every image equally often"


def test_an_epoch_is_a_function_of_seed_and_epoch() -> None:
    first = drawn(1, 1, TARGETS, "sqrt")
    np.testing.assert_array_equal(first, drawn(1, 1, TARGETS, "sqrt"))
    for seed, epoch in ((1, 2), (2, 1)):
        assert {*first.tolist()} != {*drawn(seed, epoch, TARGETS, "sqrt").tolist()}


def test_without_balance_nothing_is_shifted() -> None:
    assert not balance_shift(TARGETS, 4, "none").any()
    assert (target_weights(TARGETS, 4, "none") == 1).all()


@pytest.mark.parametrize("labels", [2, 3])
def test_probabilities_are_those_of_the_data_as_it_is(labels: int) -> None:
    """Of features that say nothing, a head learns each target's own share, however it is balanced."""
    random = np.random.default_rng(0)
    targets = np.repeat(np.arange(labels), [2000, 300, 40][:labels]).astype(np.int32)
    train = Examples(random.normal(size=(len(targets), 2)).astype(np.float32), targets)
    shares = {}
    for balance in ("none", "even"):
        weights = target_weights(targets, labels, balance)
        shift = balance_shift(targets, labels, balance)
        head = fit_head(train, train, 1 if labels == 2 else labels, shift, weights)
        logits = head.bias if labels > 2 else np.array([head.bias[0], 0])
        shares[balance] = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(shares["none"], np.bincount(targets) / len(targets), atol=0.01)
    np.testing.assert_allclose(shares["even"], shares["none"], atol=0.02)
