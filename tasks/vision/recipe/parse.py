"""Reading a recipe: from TOML, with settings laid over it, faults in one line."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from tasks.vision.errors import BadInput, nearest
from tasks.vision.recipe.recipe import Recipe
from tasks.vision.recipe.schema import Data, LabelScheme, Network, ProgressiveResize, Stage

RENAMED_KEYS = {
    "rate": "lr_scale",
    "head_rate": "head_lr_scale",
    "early": "progressive_resize",
    "keep": "restore",
}
RENAMED_KINDS = {"fast": "airbench", "classroom": "simple_cnn"}


def parse_recipe(text: str, name: str, settings: Mapping[str, Any]) -> Recipe:
    """Turn TOML into a recipe; `[defaults]` holds for every stage that does not say otherwise."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"recipe {name!r} is not TOML: {error}; mend it there") from None
    # Settings of defaults first, so that one for a stage has the last word.
    for path, value in sorted(
        settings.items(), key=lambda item: item[0].split(".")[0] != "defaults"
    ):
        _assign(table, path, value)
    defaults, stages = table.pop("defaults", {}), table.get("stages", {})
    if not isinstance(defaults, dict):
        raise BadInput(
            f"recipe {name!r}: defaults = {defaults!r}: expected a table of keys and values"
        )
    if isinstance(stages, dict):
        table["stages"] = {key: _laid_over(defaults, stage) for key, stage in stages.items()}
    try:
        recipe = Recipe.model_validate({"name": name, **table})
    except ValidationError as error:
        raise BadInput(f"recipe {name!r}: {_first_line(error, defaults, stages)}") from None
    _refuse_idle(recipe, stages, table.get("labels", {}))
    return recipe


def _laid_over(below: dict[str, Any], above: Any) -> Any:
    """`above` with what it leaves out taken from `below`, tables within tables too."""
    if not isinstance(above, dict):
        return above
    tables = [key for key in above if isinstance(below.get(key), dict)]
    return {**below, **above, **{key: _laid_over(below[key], above[key]) for key in tables}}


def _refuse_idle(recipe: Recipe, stages: dict[str, Any], schemes: dict[str, Any]) -> None:
    """`BadInput` for a setting that a stage or scheme states itself and that can't change anything."""
    for name, given in schemes.items():
        if idle := sorted(recipe.labels[name].unused_settings() & given.keys()):
            raise BadInput(
                f"recipe {recipe.name!r}: labels.{name}.{idle[0]} has no effect without limits; "
                "remove it"
            )
    for name, given in stages.items():
        stage = recipe.stages[name]
        if idle := sorted(stage.unused_settings() & given.keys()):
            start = f"starts from {stage.start!r}" if stage.start else "starts from nothing"
            raise BadInput(
                f"recipe {recipe.name!r}: stages.{name}.{idle[0]} has no effect, since the stage "
                f"{start} and trains {stage.train!r}; remove it"
            )


def _assign(table: dict[str, Any], path: str, value: Any) -> None:
    """Set a dotted key; its table must be one that a recipe can have."""
    *parents, last = path.split(".")
    if "" in {*parents, last}:
        raise BadInput(f"--set {path}: a key is empty; expected e.g. stages.baseline.epochs")
    here = table
    for depth, key in enumerate(parents):
        known = [*here, *_may_begin(parents[:depth])]
        if key not in known:
            raise BadInput(f"--set {path}: {key!r}{_hint(key, known)}")
        here = here.setdefault(key, {})
        if not isinstance(here, dict):
            raise BadInput(f"--set {path}: {key!r} is a value, not a table; leave out {last!r}")
    if not parents and last not in Recipe.model_fields:
        raise BadInput(f"--set {path}: {last!r}{nearest(last, Recipe.model_fields)}")
    here[last] = value


def _may_begin(where: list[str]) -> list[str]:
    """The keys that a setting may begin in the table at `where`: no stage or scheme, whose names are free."""
    if not where:
        return [*Recipe.model_fields, "defaults"]
    return _keys_at(where) if len(where) > 1 or where == ["defaults"] else []


def _first_line(error: ValidationError, defaults: dict[str, Any], stages: dict[str, Any]) -> str:
    """Describe the first fault in one line, with the right name beside the wrong one."""
    # A misspelt key also makes the right one missing: name the misspelling.
    faults = error.errors()
    first = next((fault for fault in faults if fault["type"] == "extra_forbidden"), faults[0])
    where = [str(part) for part in first["loc"]]
    if where[:1] == ["stages"] and _holds(defaults, where[2:]) and not _holds(stages, where[1:]):
        where = ["defaults", *where[2:]]
    if first["type"] == "extra_forbidden":
        return f"{'.'.join(where)}{_hint(where[-1], _keys_at(where[:-1]))}"
    if first["type"] == "missing":
        return f"{'.'.join(where)} is missing; add it"
    if first["type"] in {"model_type", "dict_type"}:
        return f"{'.'.join(where)} = {first['input']!r}: expected a table of keys and values"
    if where[-1:] == ["kind"] and (new := RENAMED_KINDS.get(str(first["input"]))):
        return f"{'.'.join(where)} = {first['input']!r} is now called {new!r}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{'.'.join(where)}: {message}" if where else message
    return f"{'.'.join(where)} = {first['input']!r}: {message[0].lower()}{message[1:]}"


def _hint(key: str, known: list[str]) -> str:
    """What an unknown key should be: its new name if it was renamed, else the nearest of `known`."""
    new = RENAMED_KEYS.get(key)
    return f" is now called {new}" if new in known else nearest(key, known)


def _holds(table: Any, path: list[str]) -> bool:
    """True if the nested tables of `table` have a value at `path`."""
    for key in path:
        if not isinstance(table, dict) or key not in table:
            return False
        table = table[key]
    return bool(path)


def _keys_at(where: list[str]) -> list[str]:
    """The keys that the table at `where` may have."""
    model: Any = Recipe
    if where and where[0] == "data":
        model = Data
    elif where and where[0] == "labels":
        model = LabelScheme
    elif where and where[0] in ("stages", "defaults"):
        model = {"network": Network, "progressive_resize": ProgressiveResize}.get(where[-1], Stage)
    return list(model.model_fields)
