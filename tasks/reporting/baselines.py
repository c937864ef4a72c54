"""What each stage that starts from another is measured against, answer by answer on the same test images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from tasks.vision.evaluation.significance import compare, holm

Numbers = Mapping[str, Any]


class Answers(NamedTuple):
    """Which test images a model was asked, (n,) int, and whether it was right, (n,) bool."""

    positions: np.ndarray
    right: np.ndarray


def answers_of(arrays: Mapping[str, np.ndarray]) -> Answers:
    """The answers in an evaluation's arrays."""
    return Answers(arrays["positions"], arrays["probabilities"].argmax(1) == arrays["truth"])


def rivals_of(name: str, stages: Mapping[str, Numbers]) -> Iterator[tuple[str, str, Numbers]]:
    """Kind, title and numbers of each rival: the stage's controls, and stages from scratch of its labels."""
    stage = stages[name]
    for kind, control in stage["controls"].items():
        yield kind, f"{name}, {kind}", control
    for other, rival in stages.items():
        if rival["start"] is None and rival["labels"] == stage["labels"]:
            yield "stage", other, rival


def differences(
    stages: Mapping[str, Numbers], answers: Mapping[str, Answers]
) -> dict[str, dict[str, Any]]:
    """How each stage that starts from another does against each rival that answered the same images.

    Args:
        answers: by title, those of stages and of their controls.

    Returns:
        For each stage and title `chance`, whether the difference may be noise (paired bootstrap and
        McNemar's test, for all of them together), and `interval`, its 95 % interval in points.
    """
    pairs = {
        (name, title): compare(answers[title].right, answers[name].right)
        for name, stage in stages.items()
        if stage["start"]
        for _, title, _ in rivals_of(name, stages)
        if np.array_equal(answers[title].positions, answers[name].positions)
    }
    found: dict[str, dict[str, Any]] = {name: {} for name in stages}
    adjusted = holm([pair.p for pair in pairs.values()])
    for ((name, title), pair), p in zip(pairs.items(), adjusted, strict=True):
        found[name][title] = {
            "chance": pair.verdict(p) == "noise",
            "interval": [100 * end for end in pair.interval],
        }
    return found
