"""The recipe in a run folder parses to the one that ran, whatever its labels contain."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.recipes.load import load_recipe
from tasks.vision.recipe.parse import parse_recipe
from tasks.vision.recipe.recipe import Recipe
from tasks.vision.recipe.to_toml import as_toml, toml_value

names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40).filter(
    str.strip
)


def labelled(target: str, classes: list[str]) -> Recipe:
    """A recipe whose scheme has this target."""
    found = load_recipe("digits")
    scheme = {"targets": {target: classes}, "rest": f"{target} not", "limits": {target: 5}}
    tables = {**found.model_dump(mode="json"), "labels": {"one": scheme, "one_nine": scheme}}
    return Recipe.model_validate(tables)


@pytest.mark.parametrize(
    "label",
    ["golden retriever", "a.b", " lead", 'say "x"', "back\\slash", "\N{CHERRY BLOSSOM}"],
)
def test_as_toml_parses_to_the_recipe_that_ran(label: str) -> None:
    ran = labelled(label, [label, "\x7f"])
    again = parse_recipe(as_toml(ran), ran.name, {})
    assert again.labels == ran.labels
    assert as_toml(again) == as_toml(ran)


@pytest.mark.parametrize("name", ["digits", "cifar10", "classroom", "photos"])
def test_as_toml_states_each_setting_that_has_an_effect_and_no_other(name: str) -> None:
    ran = load_recipe(name)
    tables = tomllib.loads(as_toml(ran))
    again = parse_recipe(as_toml(ran), ran.name, {})
    for stage in ran.stages:
        assert again.stages[stage].settings_in_key() == ran.stages[stage].settings_in_key()
    for part in ("labels", "stages"):
        for each, model in getattr(ran, part).items():
            unset = {key for key in type(model).model_fields if getattr(model, key) is None}
            stated = type(model).model_fields.keys() - model.unused_settings() - unset
            assert tables[part][each].keys() == stated


@settings(deadline=None)
@given(names, st.lists(names, min_size=1, max_size=3, unique=True))
def test_as_toml_keeps_any_label(target: str, classes: list[str]) -> None:
    ran = labelled(target, classes)
    again = parse_recipe(as_toml(ran), ran.name, {})
    assert again.labels == ran.labels
    assert as_toml(again) == as_toml(ran)


def test_toml_value_is_one_value_whatever_its_words() -> None:
    value = {"a b": ["\N{CHERRY BLOSSOM}", {"x.y": [1, 0.5, True]}], "\x7f": "\n"}
    assert tomllib.loads(f"value = {toml_value(value)}")["value"] == value
