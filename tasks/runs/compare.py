"""Runs side by side, stage by stage: is a difference on the same test images more than noise?"""

from __future__ import annotations

from typing import Any

import numpy as np

from tasks.io.load import Answers, load_evaluation
from tasks.runs.lookup import find_run
from tasks.runs.summary import RunSummary, read_lineage
from tasks.store.base import Damaged, Missing
from tasks.store.opening import open_store
from tasks.vision.errors import BadInput
from tasks.vision.evaluation.significance import RESAMPLES, Difference, compare, holm


def compare_runs(store: str, given: list[str]) -> dict[str, Any]:
    """Every run but the first against the first, as plain JSON.

    Args:
        given: names of two runs or more; `latest` is one.

    Returns:
        `runs` (their names), `resamples`, and `comparisons`: for each other run, its stages. A stage has a
        `verdict`: better, worse, noise, same model, or not comparable (with the `reason`).

    Raises:
        BadInput: fewer than two runs, one given twice, none of that name, or scores that are damaged.
    """
    summaries = [find_run(store, run) for run in given]
    names = [summary.run for summary in summaries]
    if len(set(names)) < max(2, len(names)):
        raise BadInput(
            f"compare {' '.join(given)}: expected two different runs or more; `relevo runs` lists them"
        )
    first, *others = [_Finished(store, summary) for summary in summaries]
    pairs = {
        (other.name, stage): _pair(first, other, stage)
        for other in others
        for stage in {**first.stages, **other.stages}
    }
    tested = {key: pair for key, pair in pairs.items() if isinstance(pair, Difference)}
    adjusted = dict(zip(tested, holm([pair.p for pair in tested.values()]), strict=True))
    rows = {
        key: _row(pair, adjusted[key]) if isinstance(pair, Difference) else pair
        for key, pair in pairs.items()
    }
    return {
        "runs": names,
        "store": store,
        "resamples": RESAMPLES,
        "comparisons": [
            {
                "run": other.name,
                "against": first.name,
                "stages": {stage: row for (run, stage), row in rows.items() if run == other.name},
            }
            for other in others
        ],
    }


class _Finished:
    """A run's summary, and each stage's answers to the test images."""

    def __init__(self, store: str, summary: RunSummary) -> None:
        self.store, self.name, self.stages = open_store(store), summary.run, summary.stages
        self._lineage = read_lineage(self.store, self.name)

    @property
    def dataset(self) -> str:
        return self._lineage.dataset.digest

    def answers(self, stage: str) -> tuple[list[str], Answers]:
        """The stage's labels, and its answers."""
        try:
            scores, answers = load_evaluation(self._lineage.evaluations[stage], self.store)
        except (Missing, Damaged, KeyError, ValueError) as error:
            raise BadInput(
                f"run {self.name!r}: the scores of {stage} can't be read ({error}); "
                "run its recipe again"
            ) from None
        return scores.labels, answers


def _pair(first: _Finished, other: _Finished, stage: str) -> Difference | dict[str, Any]:
    """The two runs' models of one stage: their difference, or why there is none."""
    both = [run.stages[stage] for run in (first, other) if stage in run.stages]
    accuracies = [
        run.stages[stage].metrics.accuracy if stage in run.stages else None
        for run in (first, other)
    ]

    def apart(reason: str) -> dict[str, Any]:
        return {"accuracies": accuracies, "verdict": "not comparable", "reason": reason}

    if len(both) < 2:
        return apart(f"only in {first.name if stage in first.stages else other.name}")
    if first.dataset != other.dataset:
        return apart("other data")
    (labels, a), (others, b) = first.answers(stage), other.answers(stage)
    if labels != others:
        return apart("other labels")
    if not (np.array_equal(a.positions, b.positions) and np.array_equal(a.truth, b.truth)):
        return apart("other images")
    if both[0].model_digest == both[1].model_digest:
        return {"accuracies": accuracies, "difference": 0.0, "verdict": "same model"}
    return compare(*(each.probabilities.argmax(1) == each.truth for each in (a, b)))


def _row(found: Difference, adjusted: float) -> dict[str, Any]:
    return {
        "images": found.images,
        "accuracies": list(found.accuracies),
        "difference": found.difference,
        "interval": list(found.interval),
        "only_right": list(found.only),
        "p": found.p,
        "p_holm": adjusted,
        "verdict": found.verdict(adjusted),
    }
