"""When a model passes: by how much it must be better, and what no class may lose."""

from __future__ import annotations

import pytest

from tasks.promotion.gate import Gate
from tasks.vision.evaluation.paired import PairedScores

NOISE = "the difference is no more than noise"


def scores(difference: float, low: float, high: float, p: float, owls: float = 0.9) -> PairedScores:
    return PairedScores(
        metric="accuracy",
        images=100,
        scores=(0.8, 0.8 + difference),
        difference=difference,
        interval=(low, high),
        p=p,
        recall={"cat": (0.8, 0.85), "owl": (0.9, owls)},
    )


@pytest.mark.parametrize(
    ("gate", "found", "objection"),
    [
        (Gate(), scores(0.1, 0.05, 0.15, 0.001), None),
        (Gate(), scores(0.1, -0.01, 0.2, 0.07), NOISE),
        (Gate(), scores(0.1, 0.01, 0.2, 0.07), NOISE),  # few answers differ
        (Gate(), scores(0.0, 0.0, 0.0, 1.0), NOISE),
        (Gate(), scores(-0.1, -0.15, -0.05, 0.001), "it is worse"),
        (Gate(margin=0.04), scores(0.1, 0.05, 0.15, 0.001), None),
        (Gate(margin=0.05), scores(0.1, 0.05, 0.15, 0.001), "it may be less than 0.05 better"),
        (Gate(margin=-0.01), scores(0.0, 0.0, 0.0, 1.0), None),
        (Gate(margin=-0.01), scores(0.0, -0.005, 0.005, 1.0), None),
        (Gate(margin=-0.01), scores(0.0, -0.02, 0.02, 1.0), "it may be worse by more than 0.01"),
        (Gate(max_class_loss=0.1), scores(0.1, 0.05, 0.15, 0.001, owls=0.8), None),
        (
            Gate(max_class_loss=0.09),
            scores(0.1, 0.05, 0.15, 0.001, owls=0.8),
            "recall of 'owl' falls from 0.9000 to 0.8000, by more than 0.09",
        ),
        (Gate(max_class_loss=0), scores(0.1, 0.05, 0.15, 0.001), None),
    ],
)
def test_gate_opens_for_what_is_surely_better(
    gate: Gate, found: PairedScores, objection: str | None
) -> None:
    assert gate.objection(found) == objection
