"""Results of a sweep: mean and interval of each combination, the best by validation, and what is noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from tasks.io.load import load_evaluation
from tasks.runs.stage_result import StageResult
from tasks.runs.sweeps.record import WITHOUT_MODEL, Combination, SweepRun, Verdict
from tasks.store.base import Store
from tasks.sweeps.grid import Settings
from tasks.vision.evaluation.repeated import Trained, compare_repeated, mean_interval
from tasks.vision.evaluation.significance import holm


def run_of(result: StageResult, seed: int, fold: int | None) -> SweepRun:
    """Return what the record says of a training; its scores are on the validation images."""
    card = result.card
    return SweepRun(
        seed=seed,
        fold=fold,
        state=result.state,
        validation=result.scores.metrics.accuracy,
        epochs=card.epochs,
        seconds=round(card.seconds, 3),
        curve=tuple(round(row["validation_accuracy"], 6) for row in card.history),
        predictions=result.evaluation,
    )


def rank(tried: Sequence[tuple[Settings, Sequence[SweepRun]]], store: Store) -> list[Combination]:
    """Return the combinations, the best by validation first, those without a model last.

    The best is the one with the highest mean accuracy, of equal ones the first. Each other is compared with
    it, paired by seed and fold, with Holm's correction over all comparisons.
    """
    without = [
        Combination(settings=settings, runs=tuple(runs), verdict=verdict)
        for verdict in WITHOUT_MODEL
        for settings, runs in tried
        if _lacks_model(runs) == verdict
    ]
    sound = [
        _Scored(settings, tuple(runs), [_trained(run, store) for run in runs])
        for settings, runs in tried
        if not _lacks_model(runs)
    ]
    if not sound:
        return without
    best, *others = sorted(sound, key=lambda each: -each.mean)
    differences = [compare_repeated(best.trained, each.trained) for each in others]
    adjusted = holm([each.p for each in differences])
    compared = [
        each.combination(
            "noise" if about.is_noise(p) else "worse", difference=about.difference, p=p
        )
        for each, about, p in zip(others, differences, adjusted, strict=True)
    ]
    return [best.combination("best"), *compared, *without]


def _lacks_model(runs: Sequence[SweepRun]) -> Literal["stopped", "failed"] | None:
    """Return why the runs of a combination have no mean."""
    states = {run.state for run in runs}
    return "failed" if "failed" in states else "stopped" if "stopped" in states else None


@dataclass(frozen=True, eq=False)
class _Scored:
    """Settings of which every run has a model."""

    settings: Settings
    runs: tuple[SweepRun, ...]
    trained: list[Trained]

    @cached_property
    def mean(self) -> float:
        return mean_interval(self.trained)[0]

    def combination(
        self, verdict: Verdict, difference: float | None = None, p: float | None = None
    ) -> Combination:
        mean, low, high = mean_interval(self.trained)
        return Combination(
            settings=self.settings,
            runs=self.runs,
            mean=mean,
            interval=(low, high),
            difference=difference,
            p=p,
            verdict=verdict,
        )


def _trained(run: SweepRun, store: Store) -> Trained:
    assert run.predictions
    _, answers = load_evaluation(run.predictions, store)
    correct = answers.probabilities.argmax(1) == answers.truth
    return Trained(run.seed, run.fold or 1, correct)
