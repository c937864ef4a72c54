"""What the stages of a run share."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from flows.training.trainings import Training
from tasks.cache.cached_task import CacheOptions
from tasks.io.checkpoints import checkpointed
from tasks.machines.rendezvous import Group
from tasks.store.base import Ref, Store
from tasks.vision.data.batches.targets import Targets, apply_scheme
from tasks.vision.recipe.recipe import Recipe
from tasks.vision.recipe.schema import Stage


@dataclass(frozen=True)
class RunContext:
    """What the stages of a run share: the recipe, the data set and its classes, and the store.

    Attributes:
        new: True if the data set was just prepared, so that probably no training on it is cached.
        networks: the pretrained networks and trained models that stages start from, by the stage's name.
        refreshed: keys of features that were computed again, which one run does once for all heads.
        group: the machines that train the stage, if it was sent to several.
    """

    recipe: Recipe
    data: Ref
    classes: list[str]
    store: Store
    refresh: bool = False
    new: bool = False
    networks: dict[str, Ref] = field(default_factory=dict)
    refreshed: set[str] = field(default_factory=set)
    group: Group | None = None

    def start_of(self, training: Training, parent: Ref | None) -> Ref | None:
        """Return what a training starts from: its parent's model, one of `networks`, or nothing."""
        start = self.networks.get(training.stage)
        if training.control == "scratch" or (training.control and start and start.kind == "model"):
            return parent
        return parent or start

    def targets_of(self, stage: Stage) -> Targets:
        """Return the stage's label scheme, applied to the data set's classes."""
        return apply_scheme(self.recipe.scheme(stage), self.classes)

    def options(self, stage: Stage, *, locked: bool) -> CacheOptions:
        """Return how a task of the stage uses the cache; `locked` if its work is probably not cached."""
        return CacheOptions(refresh=self.refresh, minutes=stage.timeout_minutes, locked=locked)

    def probably_uncached(self, key: str) -> bool:
        """True if the work of that key is probably not cached: its data is new, or it has checkpoints."""
        return self.new or key in self.checkpointed

    @cached_property
    def checkpointed(self) -> set[str]:
        """Work keys of interrupted trainings, and of finished ones whose checkpoints are still there."""
        return checkpointed(self.store)
