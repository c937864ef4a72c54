"""Parameters from a form of Prefect's UI, and the equivalent command line."""

from __future__ import annotations

import shlex
from itertools import pairwise

import pytest
from support.command import ROOT

from flows.cli.options import all_settings
from flows.parameters import RunRequest
from flows.recipes.load import load_recipe
from tasks.vision.recipe.to_toml import as_toml


@pytest.mark.parametrize("recipe", ["digits", "cifar10", "classroom"])
@pytest.mark.parametrize("most", [None, 1, 3, 1000])
@pytest.mark.parametrize("own", [False, True])
def test_command_in_the_report_repeats_a_run_with_max_epochs(
    recipe: str, most: int | None, own: bool
) -> None:
    text = (ROOT / f"flows/recipes/{recipe}.toml").read_text() if own else None
    request = RunRequest(
        recipe,
        "store",
        own_recipe=text,
        stages=("transfer",),
        seed=7,
        max_epochs=most,
        settings={"stages.baseline.epochs": 2, "stages.transfer.epochs": 50},
        lang="es",
    )
    words = shlex.split(request.command())
    named = "own.toml" if own else recipe
    assert words[:5] == ["relevo", "run", named, "--stage", "transfer"]
    options = {
        option: [value for name, value in pairwise(words) if name == option]
        for option in ("--set", "--seed")
    }
    settings = all_settings(options["--set"], int(options["--seed"][0]))
    repeated = load_recipe(recipe, settings)
    ran = request.recipe.model_copy(update={"name": recipe})
    assert as_toml(repeated) == as_toml(ran)


def test_command_in_the_report_repeats_tables_and_lists_in_settings() -> None:
    settings = {
        "stages.ten_class.progressive_resize": {"epochs": 1, "image_size": 24},
        "stages.ten_class.network": {"kind": "airbench", "widths": [8, 16]},
        "labels.one.targets": {"a one": ["1", "2"]},
        "stages.ten_class.flip": False,
        "stages.ten_class.optimizer": "adam",
    }
    words = shlex.split(RunRequest("digits", "store", settings=settings).command())
    assert (
        all_settings([value for name, value in pairwise(words) if name == "--set"], None)
        == settings
    )
