"""Input of the report task: a run's settings and the results of its stages."""

from __future__ import annotations

from typing import Any, Literal

from tasks.runs.stage_result import StageResult
from tasks.store.base import Ref
from tasks.vision.recipe.schema import Strict


class ReportInput(Strict):
    """Everything that determines a report's content.

    Attributes:
        description, recipe_toml: of the recipe. command: that repeats the run.
        device: what the stages were trained on. versions: of packages. source: of the images.
    """

    lang: Literal["en", "es"]
    title: str
    description: str
    recipe_toml: str
    command: str
    seed: int
    device: str
    versions: dict[str, str]
    source: str
    dataset: Ref
    stages: dict[str, StageResult]

    def ingredients(self) -> dict[str, Any]:
        """Return the cache key's ingredients: for stages their refs, which determine the rest."""
        refs = {name: _refs(result) for name, result in self.stages.items()}
        return {**self.model_dump(mode="json", exclude={"stages"}), "stages": refs}


def _refs(result: StageResult) -> dict[str, Any]:
    refs = result.model_dump(mode="json", include={"start", "model", "evaluation"})
    return {**refs, "controls": {kind: _refs(each) for kind, each in result.controls.items()}}
