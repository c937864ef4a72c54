"""In which order a search hands out its runs, and what it knows when it is started again."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.results import REF, bare_metrics, bare_result, bare_scores

from flows.parameters import RunRequest
from flows.sweep_run import SweepInputs
from flows.sweeps.sweep_plan import PlannedRun, plan_sweep
from flows.sweeps.sweep_runs import Parameters, Prepared
from flows.sweeps.sweep_search import Search
from tasks.runs.stage_result import StageResult
from tasks.runs.sweeps.search_record import Picked, Stopped, read_picked, write_picked
from tasks.store.opening import open_store
from tasks.sweeps.early_stop import EarlyStop
from tasks.sweeps.grid import Variation


class Made(Prepared):
    """A data set that is not there."""

    def inputs_of(self, request: RunRequest, stage: str) -> SweepInputs:
        return SweepInputs(dataset=REF)

    def parameters_of(self, request: RunRequest, stage: str) -> Parameters:
        return {"stage": stage, "settings": request.settings}


def search(folder: Path, number: int = 8) -> Search:
    over = [Variation.parse("stages.ten_class.lr_scale=0.1..10")]
    store = open_store(str(folder))
    plan = plan_sweep(RunRequest("digits", str(folder)), over, seeds=2, search=number)
    return Search(plan, store, Made(store))


def take(found: Search) -> tuple[PlannedRun, Parameters]:
    taken = found.take()
    assert taken
    return taken


def scored(accuracy: float) -> StageResult:
    """A result whose validation accuracy is half of it after the first of two epochs."""
    history = [{"epoch": e, "validation_accuracy": accuracy * e / 2} for e in (1.0, 2.0)]
    scores = bare_scores(["a", "b"])
    metrics = bare_metrics(["a", "b"], accuracy)
    result = bare_result(scores=scores.model_copy(update={"metrics": metrics}))
    return result.model_copy(update={"card": result.card.model_copy(update={"history": history})})


def test_runs_at_the_same_time_are_of_different_settings(tmp_path: Path) -> None:
    found = search(tmp_path)
    first, second, third = (take(found)[0] for _ in range(3))
    assert [each.combination for each in (first, second, third)] == [0, 1, 2]
    assert [each.seed for each in (first, second, third)] == [0, 0, 0]
    found.add(second, scored(0.8))
    other, parameters = take(found)
    assert (other.combination, other.seed) == (1, 1), "its other seed is next"
    assert "stop" not in parameters
    found.add(first, RuntimeError("out of memory"))
    assert take(found)[0].combination == 3, "without a model its other seed is of no use"


def test_later_runs_know_the_median_of_earlier_ones(tmp_path: Path) -> None:
    found = search(tmp_path)
    for accuracy in (0.5, 0.6, 0.7, 0.8, 0.9):
        run, parameters = take(found)
        stop = parameters["stop"]
        assert isinstance(stop, EarlyStop)
        assert stop.medians == ()
        found.add(run, scored(accuracy))
        found.add(take(found)[0], scored(accuracy))
    _, parameters = take(found)
    stop = parameters["stop"]
    assert isinstance(stop, EarlyStop)
    assert (stop.number, stop.medians) == (6, (0.35, 0.7))


def test_started_again_it_knows_what_was_picked_and_stopped(tmp_path: Path) -> None:
    found, store = search(tmp_path, 3), open_store(str(tmp_path))
    (first, _), (second, parameters) = take(found), take(found)
    stop = parameters["stop"]
    assert isinstance(stop, EarlyStop)
    picked = read_picked(store, stop.search, 2)
    assert picked
    stopped = Stopped(reason="after epoch 1", curve=(0.1,))
    write_picked(store, stop.search, 2, picked.model_copy(update={"stopped": stopped}))
    found.add(second, None)

    again = search(tmp_path, 4)
    assert take(again)[0].title == first.title
    third, fourth = take(again)[0], take(again)[0]
    assert [third.combination, fourth.combination] == [2, 3]
    assert again.take() is None
    for each in (found, again):
        settings, runs = each.tried()[1]
        assert settings == picked.settings
        (run,) = runs
        assert (run.state, run.reason, run.curve) == ("stopped", "after epoch 1", (0.1,))


@pytest.mark.parametrize("settings", [{"data.source": "/etc"}, {"stages.ten_class.lr_scale": 1000}])
def test_settings_that_could_not_be_picked_are_not_used(
    tmp_path: Path, settings: dict[str, str | int]
) -> None:
    _, parameters = take(search(tmp_path))
    stop = parameters["stop"]
    assert isinstance(stop, EarlyStop)
    write_picked(open_store(str(tmp_path)), stop.search, 1, Picked(settings={**settings}))
    _, parameters = take(search(tmp_path))
    given = parameters["settings"]
    assert isinstance(given, dict)
    assert 0.1 <= given["stages.ten_class.lr_scale"] <= 10
