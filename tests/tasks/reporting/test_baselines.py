"""The report's verdicts come from the same images, answer by answer."""

from __future__ import annotations

import numpy as np

from tasks.reporting.baselines import Answers, differences
from tasks.reporting.html import answer

IMAGES = np.arange(360)


def answers(right: int, start: int = 0) -> Answers:
    """Right on so many images in a row, from `start` on."""
    return Answers(IMAGES, (start <= IMAGES) & (start + right > IMAGES))


def numbers(right: int, start: str | None, balanced: float = 0.9) -> dict:
    metrics = {"accuracy": right / 360, "balanced_accuracy": balanced}
    both = {"labels": ["a", "b", "c"], "epochs": 1, "seconds": 1.0, "controls": {}}
    return {**both, "start": start, "metrics": metrics}


def judged(mine: Answers, scratch: Answers, random: Answers, **balanced: float) -> dict:
    """What the page says of a stage with these answers, beside its two controls."""
    titles = {"t": mine, "t, scratch": scratch, "t, random": random}
    share = {name: int(each.right.sum()) for name, each in titles.items()}
    stage = numbers(share["t"], "p", balanced.get("own", 0.9))
    stage["controls"] = {
        "scratch": numbers(share["t, scratch"], None, balanced.get("scratchs", 0.9)),
        "random": numbers(share["t, random"], None),
    }
    stages = {"p": {**numbers(300, None), "labels": ["a", "b"]}, "t": stage}
    for name, found in differences(stages, titles).items():
        stages[name]["differences"] = found
    return answer("t", stages)


def test_a_difference_on_the_same_images_counts_where_the_intervals_overlap() -> None:
    """334 against 313 of 360: the two 95 % intervals overlap, and no image speaks for the second."""
    assert judged(answers(334), answers(288), answers(313))["verdict"] == "gained"


def test_a_difference_that_may_be_chance_is_said_to_be_so() -> None:
    found = judged(answers(334), answers(330, start=20), answers(100))
    assert found["verdict"] == "even"
    low, high = found["scratch"]["interval"]
    assert low < found["scratch"]["points"] < high
    assert low < 0 < high


def test_a_rival_that_answered_other_images_is_left_out() -> None:
    other = Answers(IMAGES + 1, answers(360).right)
    found = judged(answers(334), other, answers(100))
    assert [row["kind"] for row in found["rows"]] == ["random"]
    assert found["verdict"] == "unknown"


def test_balanced_accuracy_that_says_the_opposite_is_told() -> None:
    found = judged(answers(265), answers(288), answers(100), own=0.874, scratchs=0.333)
    assert found["verdict"] == "lost"
    assert found["scratch"]["turned"]
    assert not found["random"]["turned"]
