"""Comparison of runs, stage by stage: is a difference on the same test images more than noise?"""

from __future__ import annotations

import json

import numpy as np

from tasks.io.load import Answers, load_evaluation
from tasks.runs.lookup import find_run
from tasks.runs.summary import RunSummary, read_lineage
from tasks.store.base import Damaged, Missing
from tasks.store.opening import open_store
from tasks.vision.errors import BadInput
from tasks.vision.evaluation.significance import RESAMPLES, Difference, compare, holm
from tasks.vision.recipe.schema import Strict


class StageComparison(Strict):
    """One stage of two runs; fields are None where the models can't be compared or are the same.

    Attributes:
        images: number of test images. accuracies: of both runs, None for one without the stage.
        difference: the other run's accuracy minus the first's. interval: its 95 % interval.
        only_right: number of images on which only the first run, and only the other, is correct.
        p: of McNemar's exact test. p_holm: with Holm's correction over all comparisons.
        verdict: better, worse, noise, same model, or not comparable (with the `reason`).
    """

    images: int | None = None
    accuracies: tuple[float | None, float | None]
    difference: float | None = None
    interval: tuple[float, float] | None = None
    only_right: tuple[int, int] | None = None
    p: float | None = None
    p_holm: float | None = None
    verdict: str
    reason: str | None = None


class RunComparison(Strict):
    """A run compared against another, stage by stage."""

    run: str
    against: str
    stages: dict[str, StageComparison]


class Comparison(Strict):
    """Every run but the first, compared against the first.

    Attributes:
        runs: their names, the first one first. resamples: of the paired bootstrap.
    """

    runs: list[str]
    store: str
    resamples: int
    comparisons: list[RunComparison]

    def to_json(self) -> str:
        """Return the JSON object of `relevo compare --json`, without the fields that are None."""
        return json.dumps(self.model_dump(mode="json", exclude_none=True))


def compare_runs(store: str, given: list[str]) -> Comparison:
    """Compare every run but the first against the first.

    Args:
        given: names of two or more runs; may contain `latest`.

    Raises:
        BadInput: fewer than two runs, a run given twice, an unknown name, or damaged scores.
    """
    summaries = [find_run(store, run) for run in given]
    names = [summary.run for summary in summaries]
    if len(set(names)) < max(2, len(names)):
        raise BadInput(
            f"compare {' '.join(given)}: expected two different runs or more; `relevo runs` lists them"
        )
    first, *others = [_Run(store, summary) for summary in summaries]
    pairs = {
        (other.name, stage): _compare_stage(first, other, stage)
        for other in others
        for stage in {**first.stages, **other.stages}
    }
    tested = {key: pair for key, pair in pairs.items() if isinstance(pair, Difference)}
    adjusted = dict(zip(tested, holm([pair.p for pair in tested.values()]), strict=True))
    rows = {
        key: _row(pair, adjusted[key]) if isinstance(pair, Difference) else pair
        for key, pair in pairs.items()
    }
    comparisons = [
        RunComparison(
            run=other.name,
            against=first.name,
            stages={stage: row for (run, stage), row in rows.items() if run == other.name},
        )
        for other in others
    ]
    return Comparison(runs=names, store=store, resamples=RESAMPLES, comparisons=comparisons)


class _Run:
    """A run's summary, and its predictions on the test images."""

    def __init__(self, store: str, summary: RunSummary) -> None:
        self.store, self.name, self.stages = open_store(store), summary.run, summary.stages
        self._lineage = read_lineage(self.store, self.name)

    @property
    def dataset(self) -> str:
        return self._lineage.dataset.digest

    def accuracy(self, stage: str) -> float | None:
        return self.stages[stage].metrics.accuracy if stage in self.stages else None

    def answers(self, stage: str) -> tuple[list[str], Answers]:
        """Return the stage's labels and its predictions."""
        try:
            scores, answers = load_evaluation(self._lineage.evaluations[stage], self.store)
        except (Missing, Damaged, KeyError, ValueError) as error:
            raise BadInput(
                f"run {self.name!r}: the scores of {stage} can't be read ({error}); "
                "run its recipe again"
            ) from None
        return scores.labels, answers


def _compare_stage(first: _Run, other: _Run, stage: str) -> Difference | StageComparison:
    """Compare the two runs' models of one stage, or say why that is impossible or unnecessary."""
    accuracies = (first.accuracy(stage), other.accuracy(stage))

    def not_comparable(reason: str) -> StageComparison:
        return StageComparison(accuracies=accuracies, verdict="not comparable", reason=reason)

    if None in accuracies:
        return not_comparable(f"only in {first.name if stage in first.stages else other.name}")
    if first.dataset != other.dataset:
        return not_comparable("other data")
    (labels, a), (others, b) = first.answers(stage), other.answers(stage)
    if labels != others:
        return not_comparable("other labels")
    if not (np.array_equal(a.positions, b.positions) and np.array_equal(a.truth, b.truth)):
        return not_comparable("other images")
    if first.stages[stage].model_digest == other.stages[stage].model_digest:
        return StageComparison(accuracies=accuracies, difference=0.0, verdict="same model")
    return compare(*(each.probabilities.argmax(1) == each.truth for each in (a, b)))


def _row(found: Difference, adjusted: float) -> StageComparison:
    return StageComparison(**vars(found), p_holm=adjusted, verdict=found.verdict(adjusted))
