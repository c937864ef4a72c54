"""The trainings of a run: their order, and what the failure of one means for the others.

A failed training stops only those that start from its model. Whatever else the run needs is finished, and so is
cached when the run is started again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from prefect.task_engine import TaskRunTimeoutError

from tasks.progress import Event, emit
from tasks.runs.stage_result import StageResult
from tasks.store.base import Ref, StoreError
from tasks.sweeps.early_stop import Hopeless
from tasks.vision.errors import BadInput
from tasks.vision.recipe.controls import controls_of
from tasks.vision.recipe.recipe import Recipe
from tasks.vision.recipe.schema import Stage
from tasks.vision.training.state import Diverged

# A second try would end in the same way; the store has retries of its own.
FINAL = (BadInput, StoreError, Diverged, Hopeless, TaskRunTimeoutError)
T = TypeVar("T")


class StageFailed(RuntimeError):
    """Trainings failed; the message names them, with the reason."""


@dataclass(frozen=True)
class Training:
    """A stage or one of its controls, and the stage that must be trained before it."""

    stage: str
    control: str | None = None
    parent: str | None = None

    @property
    def after(self) -> str | None:
        """The training that must be finished before: its parent's, or that of the features it shares."""
        return self.stage if self.control == "sample" else self.parent

    @property
    def title(self) -> str:
        """Its name in logs and in Prefect's graph of a run."""
        return control_name(self.stage, self.control) if self.control else self.stage


@dataclass(frozen=True)
class Job:
    """What a worker does in one flow run: train a stage, or all controls of one, which are small."""

    title: str
    trainings: tuple[Training, ...]

    @property
    def stage(self) -> str:
        """The stage that is trained, or whose controls are."""
        return self.trainings[0].stage

    @property
    def controls(self) -> tuple[str, ...]:
        """The kinds of the controls; empty for a stage."""
        return tuple(each.control for each in self.trainings if each.control)


def control_name(stage: str, kind: str) -> str:
    """Name of a stage's control in logs and in Prefect's graph of a run."""
    return f"{stage}, {kind}"


def trainings_of(recipe: Recipe, stages: dict[str, Stage]) -> list[Training]:
    """Return the trainings of these stages in order, each stage before its controls."""
    found = []
    for name, stage in stages.items():
        found.append(Training(name, parent=stage.parent))
        controls = controls_of(stage, recipe.network(stage))
        found += [Training(name, control=kind) for kind in controls]
    return found


def jobs_of(trainings: Iterable[Training]) -> list[Job]:
    """Return what to send to workers for these trainings: each stage alone, its controls together."""
    jobs: dict[str, list[Training]] = {}
    for each in trainings:
        title = control_name(each.stage, "controls") if each.control else each.title
        jobs.setdefault(title, []).append(each)
    return [Job(title, tuple(found)) for title, found in jobs.items()]


def second_try(title: str, work: Callable[[], T]) -> T:
    """Return what `work` returns; if it fails with an error that may be transient, try once more."""
    try:
        return work()
    except FINAL:
        raise
    except Exception as error:
        emit(Event(title, f"failed, retrying once: {reason_of(error)}"))
    return work()


def reason_of(error: Exception) -> str:
    """Return an error as one line, with its type unless relevo's own words say what is wrong."""
    line = " ".join(str(error).split())
    named = isinstance(error, (*FINAL, StageFailed)) and line
    return line if named else f"{type(error).__name__}: {line}".removesuffix(": ")


class Outcomes:
    """What has become of a run's trainings: results and failures, by title."""

    def __init__(self) -> None:
        self._results: dict[str, StageResult] = {}
        self._failures: dict[str, Exception] = {}
        self._left_out: list[str] = []

    def add(self, training: Training, result: StageResult) -> None:
        """Note the result of a training."""
        self._results[training.title] = result

    def fail(self, title: str, error: Exception) -> None:
        """Note the failure of a training or a job, and report it at once."""
        self._failures[title] = error
        emit(Event(f"train {title}", f"failed: {reason_of(error)}"))

    def can_start(self, training: Training) -> bool:
        """True if the training depends on no other, or that one is finished."""
        return training.after is None or training.after in self._results

    def leave_out(self, training: Training) -> bool:
        """True if the training can never start, since one that it depends on failed."""
        without = training.after in {*self._failures, *self._left_out}
        if without:
            self._left_out.append(training.title)
        return without

    def start_of(self, training: Training) -> Ref | None:
        """Return the model that the training starts from; None for scratch."""
        return self._results[training.parent].model if training.parent else None

    def of(self, training: Training) -> StageResult:
        """Return the result of a training that is finished."""
        return self._results[training.title]

    def check(self, *advice: str) -> None:
        """Raise an error that names all failures, with `advice`, if there are any.

        Raises:
            StageFailed: a training failed; BadInput if each did by bad input.
        """
        if self._failures:
            errors = list(self._failures.values())
            kind = BadInput if all(isinstance(each, BadInput) for each in errors) else StageFailed
            raise kind("; ".join([*self._reasons(), *advice])) from errors[0]

    def by_stage(self, recipe: Recipe, stages: dict[str, Stage]) -> dict[str, StageResult]:
        """Return the stages' results with those of their controls, in the order of `stages`.

        Raises:
            StageFailed: a training failed; BadInput if each did by bad input.
        """
        hint = "what else was trained is cached; start the run again to go on from there"
        self.check(*([hint] if self._results else []))
        results = {}
        for name in stages:
            own = [each for each in trainings_of(recipe, {name: stages[name]}) if each.control]
            controls = {each.control: self.of(each) for each in own}
            results[name] = self._results[name].model_copy(update={"controls": controls})
        return results

    def _reasons(self) -> list[str]:
        reasons = [
            reason_of(error)
            if isinstance(error, StageFailed)
            else f"stage {title}: {reason_of(error)}"
            for title, error in self._failures.items()
        ]
        if self._left_out:
            reasons.append(f"not trained, since they start from it: {', '.join(self._left_out)}")
        return reasons
