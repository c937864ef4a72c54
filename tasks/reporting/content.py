"""What the report shows, typed: a run, its data set, its stages and what each is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from tasks.io.findings import FindingRefs
from tasks.io.load import Answers
from tasks.reporting.overview import Overview
from tasks.reporting.photos import StagePhotos
from tasks.reporting.thumbnails import Thumbnail
from tasks.runs.stage_result import StageResult
from tasks.store.base import Ref
from tasks.vision.check.incoming import Incoming
from tasks.vision.data.dataset import Description
from tasks.vision.evaluation.scores import Metrics, Scores
from tasks.vision.recipe.names import start_name
from tasks.vision.recipe.schema import Strict
from tasks.vision.selected_epoch import best_epoch
from tasks.vision.trained_model import Card

Verdict = Literal["gained", "lost", "inconclusive", "no_clear_effect", "unknown"]


@dataclass(frozen=True, eq=False)
class StageContent:
    """A stage, or a control of one.

    Attributes:
        start: the stage that it starts from, a trained model, or a pretrained network.
        model_digest: hex. answers: for the test images.
        controls: by kind, "scratch", "random", or "sample" (the stage on the sample that "random" had).
    """

    start: str | None
    model_digest: str
    card: Card
    scores: Scores
    answers: Answers
    controls: Mapping[str, StageContent] = field(default_factory=dict)

    @property
    def start_name(self) -> str | None:
        """What it starts from, as a reader knows it: a stage, a model, or the name of a pretrained network."""
        if not self.start:
            return None
        return str(self.card.pretrained or start_name(self.start))

    @property
    def labels(self) -> list[str]:
        """The labels that it predicts."""
        return self.card.labels

    @property
    def metrics(self) -> Metrics:
        """Its scores on the test images."""
        return self.scores.metrics

    @property
    def best_epoch(self) -> int:
        """The best epoch on the validation images, from 1."""
        return best_epoch(self.card.history)

    @property
    def validation_accuracy(self) -> float:
        """Of the epoch whose weights the model has."""
        history = self.card.history
        return history[min(self.card.selected_epoch, len(history)) - 1]["validation_accuracy"]

    @property
    def groups(self) -> dict[str, list[str]]:
        """The classes that a label stands for, where they have other names and are few."""
        named = zip(self.card.labels, self.card.classes, strict=True)
        return {label: group for label, group in named if group != [label] and len(group) < 4}

    @cached_property
    def correct(self) -> np.ndarray:
        """Whether it is right about each test image, (n,) bool."""
        return self.answers.probabilities.argmax(1) == self.answers.truth


@dataclass(frozen=True, eq=False)
class Baseline:
    """A model that a stage is compared with: one of its controls, or a stage trained from scratch.

    Attributes:
        name: of the stage, if it is one.
    """

    kind: Literal["scratch", "random", "stage"]
    name: str
    content: StageContent


@dataclass(frozen=True, eq=False)
class Comparison:
    """A stage compared with one of its baselines on the same test images.

    Attributes:
        stage: the stage itself, or its head on a sample of the images if the baseline has no others.
        significant: the difference in accuracy is more than noise, all comparisons considered.
        interval: 95 % interval of that difference alone, in percentage points.
    """

    stage: StageContent
    baseline: Baseline
    significant: bool
    interval: tuple[float, float]

    @property
    def points(self) -> float:
        """The stage's accuracy minus the baseline's, in percentage points."""
        return 100 * (self.stage.metrics.accuracy - self.baseline.content.metrics.accuracy)

    @property
    def balanced_points(self) -> float:
        """The same for balanced accuracy."""
        theirs = self.baseline.content.metrics.balanced_accuracy
        return 100 * (self.stage.metrics.balanced_accuracy - theirs)

    @property
    def seconds(self) -> float:
        """The stage's training time minus the baseline's."""
        return self.stage.card.seconds - self.baseline.content.card.seconds


@dataclass(frozen=True, eq=False)
class StageVerdict:
    """Verdict on a stage: what it gained or lost by starting from another.

    Attributes:
        scratch, random: the comparisons with training from scratch and with a frozen random network.
        ancestors: the stages that it builds on, first to last.
        total_seconds: training time, the ancestors' included.
    """

    name: str
    stage: StageContent
    verdict: Verdict
    comparisons: list[Comparison]
    scratch: Comparison | None
    random: Comparison | None
    ancestors: list[str]
    total_seconds: float


class ReportInput(Strict):
    """Everything that determines a report's content.

    Attributes:
        description, recipe_toml: of the recipe. command: that repeats the run. check: the command that checks
            its data set; "" for one that comes with relevo.
        device: what the stages were trained on. versions: of packages. source: of the images.
        findings: of a check of the data set; None if it is so large that a run doesn't make one.
        incoming: what came in since the run before; None if nothing did.
    """

    lang: Literal["en", "es"]
    title: str
    description: str
    recipe_toml: str
    command: str
    check: str
    seed: int
    device: str
    versions: dict[str, str]
    source: str
    dataset: Ref
    stages: dict[str, StageResult]
    findings: FindingRefs | None = None
    incoming: Incoming | None = None

    def ingredients(self) -> dict[str, Any]:
        """Return the cache key's ingredients: for stages their refs, which determine the rest."""
        refs = {name: _refs(result) for name, result in self.stages.items()}
        return {**self.model_dump(mode="json", exclude={"stages"}), "stages": refs}


def _refs(result: StageResult) -> dict[str, Any]:
    refs = result.model_dump(mode="json", include={"start", "model", "evaluation"})
    return {**refs, "controls": {kind: _refs(each) for kind, each in result.controls.items()}}


@dataclass(frozen=True, eq=False)
class ReportContent:
    """Everything that the page shows besides its figures.

    Attributes:
        run: its settings. data: describes the data set.
        comparisons: of each stage that starts from another.
        overview: of what a check of the data set has found. photos: test images, by stage.
        new_pictures: those that `run.incoming` shows.
    """

    run: ReportInput
    data: Description
    stages: Mapping[str, StageContent]
    comparisons: Mapping[str, list[Comparison]]
    overview: Overview | None = None
    photos: Mapping[str, StagePhotos] = field(default_factory=dict)
    new_pictures: tuple[Thumbnail, ...] = ()

    @property
    def best(self) -> str:
        """Name of the stage that comes first: with most labels, of several the best on validation."""
        order = [
            (len(stage.labels), stage.validation_accuracy, i)
            for i, stage in enumerate(self.stages.values())
        ]
        return list(self.stages)[order.index(max(order))]

    @property
    def alike(self) -> int:
        """How many stages predict the labels of the best."""
        labels = self.stages[self.best].labels
        return sum(stage.labels == labels for stage in self.stages.values())
