"""Comparisons of runs as JSON: the shape that scripts rely on."""

from __future__ import annotations

import json

from tasks.runs.compare import Comparison, RunComparison, StageComparison, _row
from tasks.vision.evaluation.significance import Difference


def test_comparison_as_json_has_only_the_fields_that_apply() -> None:
    found = Difference(
        images=10,
        accuracies=(0.5, 0.9),
        only_right=(1, 5),
        difference=0.4,
        interval=(0.1, 0.7),
        p=0.01,
    )
    stages = {
        "same": StageComparison(accuracies=(0.5, 0.5), difference=0.0, verdict="same model"),
        "one": StageComparison(
            accuracies=(0.5, None), verdict="not comparable", reason="only in a"
        ),
        "both": _row(found, 0.02),
    }
    pair = RunComparison(run="b", against="a", stages=stages)
    whole = Comparison(runs=["a", "b"], store="s", resamples=5, comparisons=[pair])
    assert json.loads(whole.to_json()) == {
        "runs": ["a", "b"],
        "store": "s",
        "resamples": 5,
        "comparisons": [
            {
                "run": "b",
                "against": "a",
                "stages": {
                    "same": {"accuracies": [0.5, 0.5], "difference": 0.0, "verdict": "same model"},
                    "one": {
                        "accuracies": [0.5, None],
                        "verdict": "not comparable",
                        "reason": "only in a",
                    },
                    "both": {
                        "images": 10,
                        "accuracies": [0.5, 0.9],
                        "difference": 0.4,
                        "interval": [0.1, 0.7],
                        "only_right": [1, 5],
                        "p": 0.01,
                        "p_holm": 0.02,
                        "verdict": "better",
                    },
                },
            }
        ],
    }
