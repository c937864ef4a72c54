"""Which settings a sweep tries: values as in a recipe, every combination, and what is refused."""

from __future__ import annotations

import pytest

from flows.recipes.load import load_recipe
from tasks.sweeps.grid import Variation, combinations, judged_stage, short_names, shown
from tasks.vision.errors import BadInput

DIGITS = load_recipe("digits")


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ("a.b=0.5,1,2", [0.5, 1, 2]),
        ("a.b=muon, adam", ["muon", "adam"]),
        ("a.b=true,false", [True, False]),
        ("a.b=1,last layer", [1, "last layer"]),
        ("a.b=[8, 16],[16]", [[8, 16], [16]]),
        ('a.b="x,y",z', None),
        ('a.b="x,y","z"', ["x,y", "z"]),
        ("a.b={epochs=1},{epochs=2}", [{"epochs": 1}, {"epochs": 2}]),
        ("a.b=2026-01-01", ["2026-01-01"]),
        ("a.b=x=1,y", ["x=1", "y"]),
        ("a.b=1,", [1]),
        ("a.b=[1", None),
        ("a.b=,muon", None),
    ],
)
def test_values_are_read_as_in_a_recipe(given: str, values: list[object] | None) -> None:
    if values is None:
        with pytest.raises(BadInput, match=r"expected values with commas"):
            Variation.parse(given).listed()
    else:
        assert Variation.parse(given).listed() == values


@pytest.mark.parametrize("given", ["", "a.b", "=1", "a.b=", "a.b= "])
def test_what_is_no_variation_is_refused(given: str) -> None:
    with pytest.raises(BadInput, match=r"expected PATH=V1,V2"):
        Variation.parse(given)


def test_every_combination_is_tried_in_the_order_given() -> None:
    over = [Variation.parse("a.b=2,1"), Variation.parse("c.d=x,y")]
    tried = combinations(over, 1, None)
    assert [tuple(each.values()) for each in tried] == [(2, "x"), (2, "y"), (1, "x"), (1, "y")]
    assert combinations([], 3, None) == [{}]


@pytest.mark.parametrize(
    ("over", "seeds", "folds", "message"),
    [
        (["a.b=1,2", "a.b=3"], 1, None, "--over a.b is given twice"),
        (["a.b=1,1"], 1, None, "1 is given twice"),
        ([], 1, None, "nothing to vary"),
        (["seed=1,2"], 1, None, "--seeds N"),
        (["data.fold=1,2"], 1, None, "--folds K"),
        (["a.b=1,2", "c.d=1,2,3,4,5"], 10, 11, "1,100 runs in all; expected at most 1,000"),
    ],
)
def test_what_cannot_be_swept_is_refused(
    over: list[str], seeds: int, folds: int | None, message: str
) -> None:
    with pytest.raises(BadInput, match=message.replace("(", r"\(")):
        combinations([Variation.parse(each) for each in over], seeds, folds)


def test_the_last_stage_that_is_varied_decides() -> None:
    def judged(*over: str, stage: str | None = None) -> str:
        return judged_stage(DIGITS, over, stage)

    assert judged("stages.baseline.epochs") == "baseline"
    assert judged("stages.transfer.head_lr_scale", "stages.baseline.epochs") == "transfer"
    assert judged("defaults.lr_scale") == "ten_class_from_transfer"
    assert judged("stages.baseline.epochs", stage="transfer") == "transfer"
    with pytest.raises(BadInput, match="no effect on ten_class"):
        judged("stages.baseline.epochs", "stages.ten_class.epochs")
    with pytest.raises(BadInput, match="did you mean 'baseline'"):
        judged("defaults.lr_scale", stage="baselin")


def test_settings_have_short_names_that_differ() -> None:
    assert short_names(["stages.a.epochs", "stages.b.epochs", "data.fit"]) == [
        *("a.epochs", "b.epochs", "fit")
    ]
    assert shown({"stages.a.lr_scale": 0.5, "data.fit": "pad"}) == "lr_scale = 0.5, fit = pad"
