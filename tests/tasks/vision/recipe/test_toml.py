"""TOML from outside is bounded before it is parsed, and what strings hold is no structure."""

from __future__ import annotations

import time
import tomllib

import pytest
from support.command import ROOT

from flows.cli.options import all_settings
from tasks.vision.errors import BadInput
from tasks.vision.recipe.parse import parse_recipe
from tasks.vision.recipe.toml import MAX_BYTES, MAX_DEPTH, read_toml

HOSTILE = {
    "arrays": "x = " + "[" * 50_000,
    "tables": "x = " + "{a=" * 50_000,
    "dotted keys": ".".join(["a"] * 45_000) + " = 1",
    "a dotted header": "[" + ".".join(["a"] * 45_000) + "]",
    "quoted keys": ".".join(['"a"'] * 30_000) + " = 1",
    "keys with spaces": " . ".join(["a"] * 30_000) + " = 1",
    "after a string of five quotes": 'x = ["""a""""", ' + "[" * 50_000,
    "large": "#" * (MAX_BYTES + 1),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_recipe_of_hostile_depth_or_size_is_refused_at_once(kind: str) -> None:
    clock = time.monotonic()
    with pytest.raises(BadInput, match=r"levels that a recipe may have|expected at most"):
        parse_recipe(HOSTILE[kind], "mine", {})
    assert time.monotonic() - clock < 2


@pytest.mark.parametrize(
    "value", ["[" * 5000, "{a=" * 3000, "{" + ".".join("a" * 4000) + "=1}", "[1,"]
)
def test_a_setting_of_hostile_depth_or_size_is_refused_at_once(value: str) -> None:
    with pytest.raises(BadInput, match=r"not TOML|expected at most"):
        all_settings([f"stages.baseline.epochs={value}"], None)
    with pytest.raises(BadInput, match="expected at most"):
        all_settings([f"stages.baseline.epochs='{'x' * 20_000}'"], None)


@pytest.mark.parametrize("part", ['"\\', '"""\\', "'", '"', "'''", '""""', "#", "\\"])
def test_unfinished_strings_take_time_in_proportion_to_their_length(part: str) -> None:
    clock = time.monotonic()
    with pytest.raises(ValueError, match=r"."):
        read_toml("x = " + part * (200_000 // len(part)) + "!")
    assert time.monotonic() - clock < 5


def test_brackets_and_dots_in_strings_and_many_keys_are_no_depth() -> None:
    deep = "[" * 99 + "." * 99
    text = f'a = \'{deep}\'\nb = "{deep}\\"{deep}"\nc = \'\'\'{deep}\'\n{deep}\'\'\'\nd = """{deep}""""\n'
    text += f"# {deep}\n" + "".join(f"e{i} = [1.5, 2.5]\n[t.{i}]\n" for i in range(50))
    assert read_toml(text) == tomllib.loads(text)
    for path in (ROOT / "flows/recipes").glob("*.toml"):
        assert read_toml(path.read_text("utf-8")) == tomllib.loads(path.read_text("utf-8"))
    assert read_toml("x = " + "[" * MAX_DEPTH + "]" * MAX_DEPTH)
