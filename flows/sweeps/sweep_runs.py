"""Train the runs of a sweep, one after the other in this process or many at once by workers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

from prefect.client.schemas import FlowRun

from flows.dispatch.dispatched_runs import dispatching, send_run
from flows.parameters import RunRequest
from flows.prepare_data import prepare_dataset
from flows.sweep_run import SweepInputs, sweep_run
from flows.sweeps.sweep_plan import PlannedRun, SweepPlan
from flows.training.trainings import reason_of
from tasks.progress import Event, emit
from tasks.runs.stage_result import StageResult
from tasks.runs.starts import Starts
from tasks.runs.sweep_record import SweepRun
from tasks.store.base import Store, StoreError
from tasks.sweeps.grid import Settings
from tasks.sweeps.results import run_of
from tasks.vision.recipe.recipe import Recipe

SWEEP_RUN = "sweep-run/worker"
Parameters = dict[str, object]  # of `sweep_run`
Ended = Callable[[PlannedRun, "StageResult | Exception"], None]


def train_runs(
    plan: SweepPlan, store: Store, at_once: int | None
) -> list[tuple[Settings, list[SweepRun]]]:
    """Train all runs of a sweep, each unless it is cached; return them by combination.

    One that fails stops no other, unless the store is out of reach.

    Args:
        at_once: how many workers may train at the same time; None to train in this process.
    """
    ended: dict[PlannedRun, SweepRun] = {}

    def add(run: PlannedRun, result: StageResult | Exception) -> None:
        if isinstance(result, Exception):
            reason = reason_of(result)[:500]
            ended[run] = SweepRun(seed=run.seed, fold=run.fold, state="failed", reason=reason)
            said = f"failed: {reason}"
        else:
            ended[run] = run_of(result, run.seed, run.fold)
            said = f"validation accuracy {result.scores.metrics.accuracy:.4f}, {result.state}"
        emit(Event("sweep", f"{len(ended)} of {len(plan.runs)}: {run.title}: {said}"))

    prepared = _Prepared(store)
    # Everything is prepared first, so that what can't be is known before anything is trained.
    parameters = {run: prepared.parameters_of(run.request, plan.stage) for run in plan.runs}
    if at_once is None:
        for run, given in parameters.items():
            _train_here(run, given, add)
    else:
        _dispatch(parameters, at_once, store, add)
    return [
        (settings, [ended[run] for run in plan.runs if run.combination == place])
        for place, settings in enumerate(plan.combinations)
    ]


class _Prepared:
    """The data set and the networks that runs share; each is prepared once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, tuple[SweepInputs, Recipe]] = {}

    def parameters_of(self, request: RunRequest, stage: str) -> Parameters:
        """Return the parameters of `sweep_run` for a run of a stage."""
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
        inputs, with_hashes = self._known[key]
        given = request.for_workers(with_hashes)
        del given["refresh"]
        return {**given, "stage": stage, "inputs": inputs}


def _prepared_by(recipe: Recipe, stage: str) -> str:
    """Return what determines the inputs of a run, as text."""
    starts = [
        (name, each.start, each.weights, each.sha256)
        for name, each in recipe.ordered([stage]).items()
    ]
    return f"{recipe.data.model_dump_json()} {starts}"


def _train_here(run: PlannedRun, parameters: Parameters, ended: Ended) -> None:
    here = sweep_run.with_options(flow_run_name=lambda: run.title)
    try:
        result = here(**parameters)  # type: ignore[call-overload]
    except StoreError:
        raise  # all others need it, too
    except Exception as error:
        ended(run, error)
    else:
        ended(run, result)


def _dispatch(
    parameters: dict[PlannedRun, Parameters], at_once: int, store: Store, ended: Ended
) -> None:
    waiting = deque(parameters)
    with dispatching(store) as runs:
        while waiting or runs.running:
            while waiting and len(runs.running) < at_once:
                run = waiting[0]
                send = partial(_send, run, parameters[run], runs.attempt)
                if not runs.send(run, run.title, send):
                    break  # the server is out of reach for the moment
                waiting.popleft()
            for run, result in runs.poll():
                ended(run, result)


def _send(run: PlannedRun, parameters: Parameters, attempt: int) -> FlowRun:
    inputs = parameters["inputs"]
    assert isinstance(inputs, SweepInputs)
    as_json = {**parameters, "inputs": inputs.model_dump(mode="json")}
    return send_run(SWEEP_RUN, run.title, as_json, inputs.models, attempt, run.title)
