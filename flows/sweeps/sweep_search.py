"""The runs of a search: settings that Optuna picks, and what has become of those before.

The settings that were picked are recorded in the store, and the results of their runs are in the cache. So a
search that was stopped goes on with the same settings, wherever it is started again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from flows.sweeps.sweep_plan import PlannedRun, SweepPlan
from flows.sweeps.sweep_runs import Parameters, Prepared, Result, Tried, emit_end, ended_run
from tasks.progress import Event, counted, emit
from tasks.runs.sweeps.record import SweepRun
from tasks.runs.sweeps.search_record import (
    Picked,
    picked_before,
    read_picked,
    search_digest,
    write_picked,
)
from tasks.store.base import Store
from tasks.sweeps import pick
from tasks.sweeps.early_stop import EarlyStop, is_comparable, median_curve
from tasks.sweeps.grid import Settings
from tasks.sweeps.space import is_in
from tasks.vision.errors import BadInput


@dataclass(eq=False)
class _Trial:
    """Settings that were picked, their runs, and what came of these so far."""

    settings: Settings
    runs: list[PlannedRun]
    ended: list[SweepRun] = field(default_factory=list)

    @property
    def state(self) -> pick.State:
        if any(run.validation is None for run in self.ended):
            return "failed"
        return "done" if self.runs and len(self.ended) == len(self.runs) else "running"

    @property
    def accuracy(self) -> float | None:
        if self.state != "done":
            return None
        return sum(run.validation or 0.0 for run in self.ended) / len(self.ended)


class Search:
    """The runs of a search. The first run of settings may be stopped early, and then is their only one."""

    def __init__(self, plan: SweepPlan, store: Store, prepared: Prepared) -> None:
        assert plan.search
        self._plan, self._store, self._prepared = plan, store, prepared
        self._most, self._trials, self._waiting = plan.search, list[_Trial](), deque[PlannedRun]()
        example = plan.runs_of(0, plan.combinations[0])[0].request
        self._digest = search_digest(
            prepared.inputs_of(example, plan.stage).dataset.digest,
            plan.request.recipe.model_dump(mode="json"),
            plan.stage,
            [[each.path, each.values] for each in plan.over],
            len(plan.seeds),
            plan.folds,
        )
        self._stops = is_comparable([each.path for each in plan.over])
        for picked in picked_before(store, self._digest, self._most):
            if not is_in(plan.space, picked.settings):
                break  # others may have written into the store
            self._add(picked)
        if self._trials:
            emit(Event("sweep", f"{counted(len(self._trials), 'combination')} picked before"))

    def take(self) -> tuple[PlannedRun, Parameters] | None:
        """Return the next run; None until others have ended, or if there are no more settings."""
        while self._waiting or self._pick():
            if not self._waiting:
                continue  # what was picked is no recipe
            run = self._waiting.popleft()
            try:
                parameters = self._prepared.parameters_of(run.request, self._plan.stage)
            except BadInput as error:
                self.add(run, error)
                continue
            trial = self._trials[run.combination]
            if self._stops and not trial.ended:
                firsts = [each.ended[0] for each in self._trials if each.ended]
                medians = median_curve([each.curve for each in firsts if each.predictions])
                parameters["stop"] = EarlyStop(
                    search=self._digest, number=run.combination + 1, medians=medians
                )
            return run, parameters
        return None

    def add(self, run: PlannedRun, result: Result) -> None:
        """Note how a run ended; after the first, the others of its settings are next."""
        trial, ended = self._trials[run.combination], ended_run(run, result)
        if ended.state == "failed":
            picked = read_picked(self._store, self._digest, run.combination + 1)
            ended = _stopped(run, picked) or ended
        trial.ended.append(ended)
        emit_end(f"combination {run.combination + 1} of {self._most}", run, ended)
        if len(trial.ended) == 1 and trial.state != "failed":
            self._waiting.extendleft(reversed(trial.runs[1:]))

    def tried(self) -> Tried:
        """Return what came of each combination, in the order in which they were picked."""
        return [(trial.settings, _in_order(trial)) for trial in self._trials]

    def _pick(self) -> bool:
        """Pick the next settings, unless there are enough of them; return whether there are others."""
        if len(self._trials) >= self._most:
            return False
        tried = [pick.Tried(each.settings, each.state, each.accuracy) for each in self._trials]
        settings = pick.pick(self._plan.space, tried, self._plan.seeds[0])
        if settings is None:
            return False
        picked = Picked(settings=settings)
        write_picked(self._store, self._digest, len(self._trials) + 1, picked)
        self._add(picked)
        return True

    def _add(self, picked: Picked) -> None:
        place = len(self._trials)
        try:
            trial = _Trial(picked.settings, self._plan.runs_of(place, picked.settings))
        except BadInput as error:
            seed, reason = self._plan.seeds[0], str(error)
            failed = SweepRun(seed=seed, state="failed", reason=reason[:500])
            self._trials.append(_Trial(picked.settings, [], [failed]))
            return
        self._trials.append(trial)
        if stopped := _stopped(trial.runs[0], picked):
            trial.ended.append(stopped)
        else:
            self._waiting.append(trial.runs[0])


def _stopped(run: PlannedRun, picked: Picked | None) -> SweepRun | None:
    """Return what the record says of a run that was stopped early; None if it was not."""
    if picked is None or picked.stopped is None:
        return None
    stopped = picked.stopped
    return SweepRun(
        seed=run.seed,
        fold=run.fold,
        state="stopped",
        reason=stopped.reason,
        epochs=len(stopped.curve),
        curve=stopped.curve,
    )


def _in_order(trial: _Trial) -> list[SweepRun]:
    """The runs of settings by seed and fold, in which order others can be compared with them."""
    return sorted(trial.ended, key=lambda run: (run.seed, run.fold or 0))
