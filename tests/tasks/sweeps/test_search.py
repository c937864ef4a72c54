"""What a search picks: from lists and ranges, nothing twice, the same again, and better than by chance."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from tasks.progress import Event, emit
from tasks.runs.sweeps.search_record import Picked, Stopped, picked_before, write_picked
from tasks.runs.sweeps.sweep_range import Range
from tasks.store.opening import open_store
from tasks.sweeps.early_stop import (
    EarlyStop,
    Hopeless,
    is_comparable,
    median_curve,
    stopping_early,
)
from tasks.sweeps.grid import Settings, Variation, combinations
from tasks.sweeps.pick import Tried, pick
from tasks.sweeps.space import Space, space_of
from tasks.vision.errors import BadInput
from tasks.vision.training.state import Progress


def space(*over: str, search: int = 1) -> Space:
    return space_of([Variation.parse(each) for each in over], search, 1, None)


@pytest.mark.parametrize(
    ("given", "whole", "log"),
    [
        ("a.b=0.1..10", False, True),
        ("a.b=.5 .. 1", False, False),
        ("a.b=1..8", True, False),
        ("a.b=8..1_024", True, True),
        ("a.b=-1e-3..2", False, False),
        ("a.b=0..100", True, False),
    ],
)
def test_a_range_is_of_whole_numbers_if_its_ends_are(given: str, whole: bool, log: bool) -> None:
    found = space(given)["a.b"]
    assert isinstance(found, Range)
    assert (found.whole, found.log) == (whole, log)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("a.b=10..0.1", "the lower number first"),
        ("a.b=1..1", "the lower number first"),
        ("a.b=1..", "expected two numbers"),
        ("a.b=0.1..10,20", "expected one range"),
        ("a.b=1..3", "there are 3 combinations"),
        ("a.b=x,y", "there are 2 combinations"),
        ("seed=1..9", "--seeds N"),
    ],
)
def test_what_cannot_be_searched_is_refused(given: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        space(given, search=4)
    with pytest.raises(BadInput, match="nothing to pick from"):
        space()
    with pytest.raises(BadInput, match="a range needs --search N"):
        combinations([Variation.parse("a.b=1..3")], 1, None)


def accuracy(settings: Settings) -> float:
    rate = settings["stages.a.lr_scale"]
    assert isinstance(rate, int | float)
    good = settings["stages.a.optimizer"] == "muon"
    return 0.9 - 0.1 * abs(math.log10(rate / 0.5)) - (0.0 if good else 0.05)


def search(number: int, seed: int = 0) -> list[Tried]:
    within, tried = (
        space("stages.a.lr_scale=0.01..100", "stages.a.optimizer=muon,adam"),
        list[Tried](),
    )
    for _ in range(number):
        settings = pick(within, tried, seed)
        assert settings
        tried.append(Tried(settings, "done", accuracy(settings)))
    return tried


def test_the_same_is_picked_again_and_better_than_by_chance() -> None:
    first, again, other = search(30), search(30), search(30, seed=1)
    assert first == again
    assert first[0] != other[0]
    mean = [sum(each.accuracy or 0 for each in part) / 10 for part in (first[:10], first[20:])]
    assert mean[1] > mean[0] + 0.02
    rates = [float(str(each.settings["stages.a.lr_scale"])) for each in first]
    assert all(
        0.01 <= rate <= 100 and len(f"{rate:.12g}".strip("0").replace(".", "")) <= 6
        for rate in rates
    )
    assert sum(rate < 1 for rate in rates[:10]) in range(2, 9), "by magnitude"


def test_nothing_is_picked_twice_until_there_is_no_more() -> None:
    within, tried = space("a.b=1..3", "a.c=x,y"), list[Tried]()
    while settings := pick(within, tried, 0):
        tried.append(Tried(settings, "running" if len(tried) % 2 else "failed"))
    assert len({tuple(each.settings.values()) for each in tried}) == len(tried) == 6


def test_what_was_picked_is_in_the_store(tmp_path: object) -> None:
    store, digest = open_store(str(tmp_path)), "0" * 64
    picked = [Picked(settings={"a.b": value}) for value in (0.5, "x", [1, 2])]
    for number, each in enumerate(picked, 1):
        write_picked(store, digest, number, each)
    stopped = Picked(settings={"a.b": 0.5}, stopped=Stopped(reason="below", curve=(0.1,)))
    write_picked(store, digest, 1, stopped)
    assert picked_before(store, digest, 10) == [stopped, *picked[1:]]
    assert picked_before(store, digest, 2) == [stopped, picked[1]]


def test_a_training_below_the_median_is_stopped_but_not_at_once_or_at_the_end() -> None:
    curves = [[0.2 + 0.1 * epoch + i / 100 for epoch in range(8)] for i in range(5)]
    medians = median_curve(curves)
    assert medians == pytest.approx([0.22 + 0.1 * epoch for epoch in range(8)])
    assert median_curve(curves[:4]) == ()
    stop = EarlyStop(search="0" * 64, number=7, medians=medians)

    def train(accuracies: list[float]) -> int:
        with stopping_early("a", stop):
            for epoch, found in enumerate(accuracies, 1):
                row = dict.fromkeys(("loss", "accuracy", "validation_loss"), 0.5)
                row |= {"epoch": float(epoch), "validation_accuracy": found}
                emit(Event("train a, control", detail=Progress("all", epoch, 8, 1, 1, 1, row)))
                emit(Event("train a", detail=Progress("all", epoch, 8, 1, 1, 1, row)))
        return len(accuracies)

    assert train([0.1, *(m + 0.01 for m in medians[1:])]) == 8
    assert train([*(m + 0.01 for m in medians[:7]), 0.1]) == 8
    assert train([0.9, *[0.1] * 7]) == 8, "its best epoch counts"
    with pytest.raises(
        Hopeless, match=r"after epoch 2 of 8: .* 0.2000, the median of others 0.3200"
    ):
        train([0.1, 0.2, 0.9])
    assert all(a < b for a, b in pairwise(medians))
    assert is_comparable(["stages.a.lr_scale"])
    assert not is_comparable(["stages.a.lr_scale", "stages.a.epochs"])
