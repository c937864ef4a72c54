"""The report's verdicts come from the same images, answer by answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from support.pages import stage

from tasks.io.load import Answers
from tasks.reporting.baselines import compare_stages, stage_verdict
from tasks.reporting.content import StageContent, StageVerdict
from tasks.reporting.html import balanced_disagrees

IMAGES = np.arange(360)
LABELS = ["a", "b", "c"]


def answers(right: int, start: int = 0) -> Answers:
    """Predictions that are correct for `right` consecutive images from `start` on."""
    correct = (start <= IMAGES) & (start + right > IMAGES)
    return Answers(IMAGES, np.zeros(len(IMAGES), int), np.eye(3)[np.where(correct, 0, 1)])


def content(given: Answers, start: str | None = None, balanced: float = 0.9) -> StageContent:
    accuracy = float((given.probabilities.argmax(1) == given.truth).mean())
    made = stage(accuracy, 1.0, LABELS, start)
    metrics = made.metrics.model_copy(update={"balanced_accuracy": balanced})
    return replace(made, answers=given, scores=made.scores.model_copy(update={"metrics": metrics}))


def judged(mine: Answers, scratch: Answers, random: Answers, **balanced: float) -> StageVerdict:
    """The report's verdict on a stage with these predictions, compared with two controls."""
    controls = {
        "scratch": content(scratch, balanced=balanced.get("scratchs", 0.9)),
        "random": content(random),
    }
    stages = {
        "p": stage(0.9, 1.0, LABELS[:2], None),
        "t": replace(content(mine, "p", balanced.get("own", 0.9)), controls=controls),
    }
    return stage_verdict("t", stages, compare_stages(stages)["t"])


def test_a_difference_on_the_same_images_counts_where_the_intervals_overlap() -> None:
    """334 against 313 of 360: the two 95 % intervals overlap, and no image speaks for the second."""
    assert judged(answers(334), answers(288), answers(313)).verdict == "gained"


def test_a_difference_that_may_be_noise_is_not_significant() -> None:
    found = judged(answers(334), answers(330, start=20), answers(100))
    assert found.verdict == "inconclusive"
    assert found.scratch
    low, high = found.scratch.interval
    assert low < found.scratch.points < high
    assert low < 0 < high


def test_a_gain_that_a_random_network_has_too_is_no_clear_effect() -> None:
    assert judged(answers(334), answers(288), answers(330, start=20)).verdict == "no_clear_effect"
    assert judged(answers(313), answers(288), answers(334)).verdict == "no_clear_effect"


def test_a_baseline_that_answered_other_images_is_left_out() -> None:
    other = answers(360)._replace(positions=IMAGES + 1)
    found = judged(answers(334), other, answers(100))
    assert [row.baseline.kind for row in found.comparisons] == ["random"]
    assert found.verdict == "unknown"


def test_balanced_accuracy_that_says_the_opposite_is_reported() -> None:
    found = judged(answers(265), answers(288), answers(100), own=0.874, scratchs=0.333)
    assert found.verdict == "lost"
    assert found.scratch
    assert found.random
    assert balanced_disagrees(found.scratch)
    assert not balanced_disagrees(found.random)


def test_pretraining_is_judged_on_the_sample_that_random_weights_had() -> None:
    few = IMAGES[:100]

    def on_sample(right: int) -> StageContent:
        made = content(Answers(few, np.zeros(100, int), np.eye(3)[(few >= right).astype(int)]))
        return replace(made, card=made.card.model_copy(update={"sample": True}))

    def judged_with(sample: int, random: int) -> StageVerdict:
        controls = {
            "scratch": content(answers(20)),
            "sample": on_sample(sample),
            "random": on_sample(random),
        }
        stages = {"t": replace(content(answers(334), "x.keras"), controls=controls)}
        return stage_verdict("t", stages, compare_stages(stages)["t"])

    found = judged_with(90, 40)
    assert found.random
    assert found.random.stage.answers.positions is few
    assert (found.verdict, len(found.comparisons)) == ("gained", 2)
    assert judged_with(52, 50).verdict == "inconclusive", "though far better than from scratch"
    assert judged_with(40, 90).verdict == "lost"
