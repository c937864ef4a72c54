"""What a sweep trains: a run for each combination of settings, with each seed and on each fold."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from flows.parameters import RunRequest
from tasks.sweeps.grid import Settings, Variation, combinations, judged_stage, shown
from tasks.sweeps.space import Space, examples, space_of
from tasks.vision.errors import BadInput
from tasks.vision.recipe.recipe import Recipe

AT_ONCE = 10  # runs that workers have at the same time, unless more is asked for; others wait here


@dataclass(frozen=True, eq=False)
class PlannedRun:
    """One training of a sweep.

    Attributes:
        request: with its settings, seed and fold. combination: its place among the sweep's. title: for people.
    """

    request: RunRequest
    combination: int
    seed: int
    fold: int | None
    title: str


@dataclass(frozen=True)
class SweepPlan:
    """A sweep that can be run: every combination is a valid recipe.

    Attributes:
        request: what all of its runs share. stage: whose validation accuracy decides.
        combinations: of settings, in the order given; of a search, some from its space.
        seeds, folds: what each is trained with. search: how many settings are picked from `space`; None to
            train all combinations.
    """

    request: RunRequest
    over: tuple[Variation, ...]
    stage: str
    combinations: list[Settings]
    seeds: tuple[int, ...]
    folds: int | None
    search: int | None = None
    space: Space = field(default_factory=dict)

    @property
    def first(self) -> Recipe:
        """The recipe with settings of the sweep."""
        return self.request_of(self.combinations[0]).recipe

    @property
    def runs(self) -> list[PlannedRun]:
        """The first seed and fold of every combination first, so that a stopped sweep has all of them."""
        each = [self.runs_of(at, settings) for at, settings in enumerate(self.combinations)]
        return [run for runs in zip(*each, strict=True) for run in runs]

    def runs_of(self, place: int, settings: Settings) -> list[PlannedRun]:
        """Return the runs of a combination, with each seed and on each fold."""
        return [
            _planned(self.request, self.stage, settings, place, seed, fold, self.folds)
            for seed in self.seeds
            for fold in (range(1, self.folds + 1) if self.folds else [None])
        ]

    def request_of(self, settings: Settings) -> RunRequest:
        """Return the request for a usual run with a combination's settings."""
        return _with(self.request, settings, (self.stage,))

    def command(self) -> str:
        """Return the command line that repeats the sweep."""
        _, _, *rest = shlex.split(self.request.command())
        words = [word for each in self.over for word in ("--over", f"{each.path}={each.values}")]
        words += ["--seeds", str(len(self.seeds))] if len(self.seeds) > 1 else []
        words += ["--folds", str(self.folds)] if self.folds else []
        words += ["--search", str(self.search)] if self.search else []
        return shlex.join(["relevo", "sweep", rest[0], *words, *rest[1:]])


def plan_sweep(
    request: RunRequest,
    over: Sequence[Variation],
    seeds: int = 1,
    folds: int | None = None,
    search: int | None = None,
) -> SweepPlan:
    """Check what a sweep is asked to do, before anything is trained.

    Args:
        request: recipe, data and settings of all runs; its `stages` name the one that decides, or none.
        search: number of settings to pick; None for all combinations.

    Raises:
        BadInput: a key is unknown, a value is of the wrong type, or there are too many runs.
    """
    space = space_of(over, search, seeds, folds) if search else {}
    tried = list(examples(space)) if search else combinations(over, seeds, folds)
    paths = [each.path for each in over]
    if both := next((path for path in paths if path in (request.settings or {})), None):
        raise BadInput(f"{both} is given by --set and by --over; leave one out")
    try:
        recipes = [_with(request, settings, request.stages).recipe for settings in tried]
    except BadInput as error:
        line = str(error)
        for path in paths:
            line = line.replace(f"--set {path}:", f"--over {path}:")
        raise BadInput(line) from None
    stage = judged_stage(recipes[0], paths, next(iter(request.stages), None))
    used = tuple(range(recipes[0].seed, recipes[0].seed + seeds))
    return SweepPlan(request, tuple(over), stage, tried, used, folds, search, space)


def _planned(
    request: RunRequest,
    stage: str,
    settings: Settings,
    place: int,
    seed: int,
    fold: int | None,
    folds: int | None,
) -> PlannedRun:
    own: Settings = {**settings, "seed": seed, **({"data.fold": [fold, folds]} if fold else {})}
    parts = [stage, *([shown(settings)] if settings else []), f"seed {seed}"]
    title = ", ".join([*parts, *([f"fold {fold} of {folds}"] if fold else [])])
    return PlannedRun(_with(request, own, (stage,)), place, seed, fold, title)


def _with(request: RunRequest, settings: Settings, stages: tuple[str, ...]) -> RunRequest:
    seed = None if "seed" in settings else request.seed
    merged = {**(request.settings or {}), **settings}
    return replace(request, settings=merged, stages=stages, seed=seed)
