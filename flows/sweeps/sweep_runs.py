"""Train the runs of a sweep, one after the other in this process or many at once by workers."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import Protocol

from prefect.client.schemas import FlowRun

from flows.dispatch.destinations import destination_of
from flows.dispatch.dispatched_runs import dispatching, send_run
from flows.parameters import RunRequest
from flows.prepare_data import prepare_dataset
from flows.sweep_run import SweepInputs, sweep_run
from flows.sweeps.sweep_plan import PlannedRun, SweepPlan
from flows.training.trainings import StageFailed, reason_of
from tasks.progress import Event, emit
from tasks.runs.stage_result import StageResult
from tasks.runs.starts import Starts
from tasks.runs.sweeps.record import SweepRun
from tasks.store.base import Store, StoreError
from tasks.sweeps.early_stop import EarlyStop
from tasks.sweeps.grid import Settings
from tasks.sweeps.results import run_of
from tasks.vision.recipe.recipe import Recipe

SWEEP_RUN = "sweep-run/worker"
Parameters = dict[str, object]  # of `sweep_run`
Result = StageResult | Exception | None  # None if the run was stopped early
Tried = list[tuple[Settings, list[SweepRun]]]


class Runs(Protocol):
    """The runs of a sweep, in the order in which they are trained."""

    def take(self) -> tuple[PlannedRun, Parameters] | None:
        """Return the next run; None if there is none, at least until another has ended."""

    def add(self, run: PlannedRun, result: Result) -> None:
        """Note how a run ended."""

    def tried(self) -> Tried:
        """Return what came of each combination."""


def train_runs(runs: Runs, store: Store, at_once: int | None) -> Tried:
    """Train all runs of a sweep, each unless it is cached; return them by combination.

    One that fails stops no other, unless the store is out of reach.

    Args:
        at_once: how many workers may train at the same time; None to train in this process.
    """
    if at_once is None:
        while taken := runs.take():
            _train_here(*taken, runs)
    else:
        dispatch_runs(runs, at_once, store)
    return runs.tried()


class AllRuns:
    """The runs of all combinations.

    Everything is prepared first, so that what can't be is known before anything is trained.
    """

    def __init__(self, plan: SweepPlan, prepared: Prepared) -> None:
        self._plan, self._runs = plan, plan.runs
        self._waiting = deque(
            (run, prepared.parameters_of(run.request, plan.stage)) for run in self._runs
        )
        self._ended: dict[PlannedRun, SweepRun] = {}

    def take(self) -> tuple[PlannedRun, Parameters] | None:
        """Return the next run."""
        return self._waiting.popleft() if self._waiting else None

    def add(self, run: PlannedRun, result: Result) -> None:
        """Note how a run ended."""
        self._ended[run] = ended_run(run, result)
        emit_end(f"{len(self._ended)} of {len(self._runs)}", run, self._ended[run])

    def tried(self) -> Tried:
        """Return what came of each combination."""
        return [
            (settings, [self._ended[run] for run in self._runs if run.combination == place])
            for place, settings in enumerate(self._plan.combinations)
        ]


def ended_run(run: PlannedRun, result: Result) -> SweepRun:
    """Return what the record says of a run that has ended with a result or failed."""
    if isinstance(result, StageResult):
        return run_of(result, run.seed, run.fold)
    reason = reason_of(result)[:500] if result else "it ended without a result"
    return SweepRun(seed=run.seed, fold=run.fold, state="failed", reason=reason)


def emit_end(place: str, run: PlannedRun, ended: SweepRun) -> None:
    """Emit a progress event that says how a run of the sweep ended."""
    said = f"{ended.state}: {ended.reason}"
    if ended.validation is not None:
        said = f"validation accuracy {ended.validation:.4f}, {ended.state}"
    emit(Event("sweep", f"{place}: {run.title}: {said}"))


class Prepared:
    """The data set and the networks that runs share; each is prepared once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, tuple[SweepInputs, Recipe]] = {}

    def parameters_of(self, request: RunRequest, stage: str) -> Parameters:
        """Return the parameters of `sweep_run` for a run of a stage."""
        inputs, with_hashes = self._prepared(request, stage)
        given = request.for_workers(with_hashes)  # `models` says what they start from
        return {**given, "stage": stage, "inputs": inputs}

    def inputs_of(self, request: RunRequest, stage: str) -> SweepInputs:
        """Return what is prepared for a run of a stage."""
        return self._prepared(request, stage)[0]

    def _prepared(self, request: RunRequest, stage: str) -> tuple[SweepInputs, Recipe]:
        key = _prepared_by(request.recipe, stage)
        if key not in self._known:
            request = request.pinned()
            recipe, chosen = request.recipe, request.recipe.ordered([stage])
            starts = Starts(recipe, chosen, request.source, request.store, request.read)
            dataset, _, _ = prepare_dataset(request, self._store)
            inputs = SweepInputs(
                dataset=dataset, networks=starts.publish(self._store), models=recipe.models
            )
            self._known[key] = inputs, starts.recipe
        return self._known[key]


def _prepared_by(recipe: Recipe, stage: str) -> str:
    """Return what determines the inputs of a run, as text."""
    starts = [
        (name, each.start, each.weights, each.sha256)
        for name, each in recipe.ordered([stage]).items()
    ]
    return f"{recipe.data.model_dump_json()} {starts}"


def _train_here(run: PlannedRun, parameters: Parameters, runs: Runs) -> None:
    here = sweep_run.with_options(flow_run_name=lambda: run.title)
    try:
        result = here(**parameters)  # type: ignore[call-overload]
    except StoreError:
        raise  # all others need it, too
    except Exception as error:
        runs.add(run, error)
    else:
        runs.add(run, result)


def dispatch_runs(runs: Runs, at_once: int, store: Store) -> None:
    """Have workers train the runs, so many at the same time."""
    with dispatching(store) as dispatched:
        taken = runs.take()
        while taken or dispatched.running:
            while taken and len(dispatched.running) < at_once:
                run, parameters = taken
                send = partial(_send, run, parameters, dispatched.attempt)
                if not dispatched.send(run, run.title, send):
                    break  # the server is out of reach for the moment
                taken = runs.take() if len(dispatched.running) < at_once else None
            for run, results in dispatched.poll():
                runs.add(run, results if isinstance(results, StageFailed) else results[0])
            if not taken and len(dispatched.running) < at_once:
                taken = runs.take()


def _send(run: PlannedRun, parameters: Parameters, attempt: int) -> FlowRun:
    inputs = parameters["inputs"]
    assert isinstance(inputs, SweepInputs)
    as_json = {**parameters, "inputs": inputs.model_dump(mode="json")}
    if isinstance(stop := parameters.get("stop"), EarlyStop):
        as_json["stop"] = stop.model_dump(mode="json")
    to = destination_of(SWEEP_RUN, run.request.recipe.stages[str(parameters["stage"])])
    return send_run(to, run.title, as_json, inputs.models, attempt, run.title)
