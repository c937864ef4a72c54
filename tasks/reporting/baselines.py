"""Compare each stage that starts from another with its baselines, and judge what its start was worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from tasks.reporting.content import Baseline, Comparison, StageContent, StageVerdict, Verdict
from tasks.vision.evaluation.significance import compare, holm

Stages = Mapping[str, StageContent]


def baselines_of(name: str, stages: Stages) -> Iterator[Baseline]:
    """Yield a stage's controls, then the stages with the same labels that are trained from scratch."""
    stage = stages[name]
    if scratch := stage.controls.get("scratch"):
        yield Baseline("scratch", "", scratch)
    if random := stage.controls.get("random"):
        yield Baseline("random", "", random)
    for other, content in stages.items():
        if content.start is None and content.labels == stage.labels:
            yield Baseline("stage", other, content)


def compare_stages(stages: Stages) -> dict[str, list[Comparison]]:
    """Compare each stage that starts from another with those baselines that have the same test images.

    A difference is significant by the paired bootstrap and by McNemar's test, with Holm's correction
    for all comparisons of the run.
    """
    pairs = [
        (name, mine, baseline, compare(baseline.content.correct, mine.correct))
        for name, stage in stages.items()
        if stage.start
        for baseline in baselines_of(name, stages)
        for mine in [_counterpart(stage, baseline)]
        if np.array_equal(baseline.content.answers.positions, mine.answers.positions)
    ]
    found: dict[str, list[Comparison]] = {name: [] for name in stages if stages[name].start}
    adjusted = holm([difference.p for *_, difference in pairs])
    for (name, mine, baseline, difference), p in zip(pairs, adjusted, strict=True):
        low, high = difference.interval
        significant = difference.verdict(p) != "noise"
        found[name].append(Comparison(mine, baseline, significant, (100 * low, 100 * high)))
    return found


def _counterpart(stage: StageContent, baseline: Baseline) -> StageContent:
    """What is compared with a baseline: the stage, or where that had a sample alone, the same on it."""
    return stage.controls["sample"] if baseline.content.card.sample else stage


def stage_verdict(name: str, stages: Stages, comparisons: list[Comparison]) -> StageVerdict:
    """Judge a stage by training from scratch: its own control, else a stage with the same labels.

    A pretrained network is judged by random weights: its control from scratch costs much less than it.
    """
    scratch = next((each for each in comparisons if each.baseline.kind != "random"), None)
    random = next((each for each in comparisons if each.baseline.kind == "random"), None)
    ancestors = list(_ancestors(name, stages))[::-1]
    return StageVerdict(
        name=name,
        stage=stages[name],
        verdict=_verdict(scratch, random),
        comparisons=comparisons,
        scratch=scratch,
        random=random,
        ancestors=ancestors,
        total_seconds=sum(stages[each].card.seconds for each in [name, *ancestors]),
    )


def _verdict(scratch: Comparison | None, random: Comparison | None) -> Verdict:
    if random and random.baseline.content.card.sample:
        scratch, random = random, None
    if scratch is None:
        return "unknown"
    if not scratch.significant:
        return "inconclusive"
    if scratch.points < 0:
        return "lost"
    # A gain that a frozen random network may have as well comes from training a head, not from the start.
    if random and not (random.significant and random.points >= 0):
        return "no_clear_effect"
    return "gained"


def _ancestors(name: str, stages: Stages) -> Iterator[str]:
    while (parent := stages[name].start) and parent in stages:
        yield parent
        name = parent
