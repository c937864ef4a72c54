"""The condition of a promotion: what a model must reach beside the one in use."""

from __future__ import annotations

from pydantic import Field

from tasks.vision.evaluation.paired import Metric, PairedScores
from tasks.vision.evaluation.significance import LEVEL
from tasks.vision.recipe.schema import Strict


class Gate(Strict):
    """What a model must reach to be promoted.

    Attributes:
        margin: least difference of the metric, which the whole 95 % interval must exceed; one below 0 lets
            a model pass that is slightly worse.
        max_class_loss: most that the recall of any label may fall, on these images; None for no limit.
        data: a source whose test split both models answer; by default that of the new model's data.
    """

    metric: Metric = "accuracy"
    margin: float = Field(0.0, gt=-1, lt=1)
    max_class_loss: float | None = Field(None, ge=0, le=1)
    data: str | None = Field(None, min_length=1, max_length=2000)

    def objection(self, scores: PairedScores) -> str | None:
        """Why a model with these scores is not promoted; None if it is."""
        limit = self.max_class_loss
        for label, (before, now) in scores.recall.items():
            if limit is not None and before - now > limit + 1e-9:
                return f"recall of {label!r} falls from {before:.4f} to {now:.4f}, by more than {limit:g}"
        low, high = scores.interval
        # The bootstrap's interval is too narrow where few answers differ.
        if low > self.margin and (self.margin < 0 or scores.p < LEVEL):
            return None
        if self.margin < 0:
            return f"it may be worse by more than {-self.margin:g}"
        if low <= 0 <= high or scores.p >= LEVEL:
            return "the difference is no more than noise"
        return (
            "it is worse"
            if scores.difference < 0
            else f"it may be less than {self.margin:g} better"
        )
