"""An accident of one stage: it is tried once more, and never takes down what does not depend on it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command import SMALL, Relevo
from support.results import bare_result

from flows.training.trainings import Outcomes, second_try, trainings_of
from tasks.progress import Event, listening
from tasks.store.base import StoreError, Unavailable
from tasks.vision.errors import BadInput
from tasks.vision.recipe.parse import parse_recipe
from tasks.vision.training.state import Diverged


@pytest.mark.parametrize("error", [SystemError("AST"), MemoryError(), KeyError("x")], ids=repr)
def test_an_accident_is_tried_once_more(error: Exception) -> None:
    tried: list[int] = []
    seen: list[Event] = []

    def work() -> str:
        tried.append(1)
        if len(tried) == 1:
            raise error
        return "trained"

    with listening(seen.append):
        assert second_try("train a", work) == "trained"
    assert [event.task for event in seen] == ["train a"]
    assert type(error).__name__ in seen[0].message


@pytest.mark.parametrize(
    "error",
    [BadInput("x"), StoreError("x"), Unavailable("x"), Diverged("x"), KeyboardInterrupt()],
    ids=repr,
)
def test_what_would_fail_again_is_not_tried_again(error: BaseException) -> None:
    tried: list[int] = []

    def work() -> None:
        tried.append(1)
        raise error

    with pytest.raises(type(error)):
        second_try("train a", work)
    assert len(tried) == 1


def test_a_head_on_a_sample_waits_for_the_features_of_its_stage() -> None:
    text = '[data]\nsource = "digits"\n[stages.own]\nstart = "net.keras"\ntrain = "head"\n'
    recipe = parse_recipe(text, "mine", {})
    stage, *controls = trainings_of(recipe, recipe.ordered())
    outcomes, failed = Outcomes(), Outcomes()
    assert [each.control for each in controls if not outcomes.can_start(each)] == ["sample"]
    outcomes.add(stage, bare_result(start=None))
    assert all(map(outcomes.can_start, controls))
    failed.fail(stage.title, BadInput("x"))
    assert [each.control for each in controls if failed.leave_out(each)] == ["sample"]


def test_a_stage_that_fails_stops_only_those_that_start_from_it(
    relevo: Relevo, server: str, tmp_path: Path
) -> None:
    words = ["run", "digits", "--stage=transfer", "--stage=ten_class", f"--store={tmp_path}"]
    words += [*SMALL, "--set=stages.ten_class.epochs=1"]
    env = {"PREFECT_API_URL": server}
    refused = relevo(*words, "--set=stages.baseline.devices=8", env=env)
    assert refused.status == 2, refused.err
    line = refused.err.splitlines()[-1]
    assert line.startswith("relevo: stage baseline: "), refused.err
    assert "; not trained, since they start from it: transfer; what else was trained is " in line
    assert len(list((tmp_path / "models").iterdir())) == 3, "ten_class, and transfer's two controls"
    alone = ["run", "digits", "--stage=ten_class", *words[4:], "--json"]
    assert relevo(*alone, env=env).json["stages"]["ten_class"]["state"] == "cached"
