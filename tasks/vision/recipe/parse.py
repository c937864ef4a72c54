"""Parsing a recipe: TOML with settings that override it; faults are reported in one line."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import ValidationError

from tasks.vision.errors import BadInput, nearest
from tasks.vision.recipe.data import Data
from tasks.vision.recipe.from_model import FindModel, is_known
from tasks.vision.recipe.names import with_slash
from tasks.vision.recipe.recipe import Recipe
from tasks.vision.recipe.schema import LabelScheme, Network, ProgressiveResize, Stage
from tasks.vision.recipe.toml import read_toml

RENAMED_KEYS = {
    "rate": "lr_scale",
    "head_rate": "head_lr_scale",
    "early": "progressive_resize",
    "keep": "restore",
}
RENAMED_KINDS = {"fast": "airbench", "classroom": "simple_cnn"}


def parse_recipe(
    text: str, name: str, settings: Mapping[str, Any], find: FindModel | None = None
) -> Recipe:
    """Parse TOML into a recipe; `[defaults]` holds for every stage that does not say otherwise.

    Args:
        name: of the recipe, unless the TOML has one.
        settings: dotted key -> value; they override the TOML.
        find: looks up the trained models that stages start from; without it they are not checked.

    Raises:
        BadInput: not TOML, or a key or value that a recipe can't have.
    """
    try:
        table = read_toml(text)
    except ValueError as error:
        raise BadInput(f"recipe {name!r} is not TOML: {error}; correct it there") from None
    # Settings of defaults first, so that one for a stage overrides them.
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
        merged = {key: _merge(defaults, stage) for key, stage in stages.items()}
        table["stages"] = {key: _with_path(stage, merged) for key, stage in merged.items()}
    try:
        recipe = Recipe.model_validate({"name": name, **table})
    except ValidationError as error:
        raise BadInput(f"recipe {name!r}: {_first_line(error, defaults, stages)}") from None
    if find:
        recipe = recipe.with_models(find)
    _refuse_unused(recipe, stages, table.get("labels", {}))
    return recipe


def _merge(defaults: dict[str, Any], stage: Any) -> Any:
    """Return `stage` with what it leaves out taken from `defaults`, nested tables too."""
    if not isinstance(stage, dict):
        return stage
    tables = [key for key in stage if isinstance(defaults.get(key), dict)]
    return {**defaults, **stage, **{key: _merge(defaults[key], stage[key]) for key in tables}}


def _with_path(stage: Any, stages: Collection[str]) -> Any:
    """Return `stage`; a folder here that it starts from gets a slash, which no stage has."""
    start = stage.get("start") if isinstance(stage, dict) else None
    if not isinstance(start, str) or start in stages:
        return stage
    return {**stage, "start": with_slash(start)}


def _refuse_unused(recipe: Recipe, stages: dict[str, Any], schemes: dict[str, Any]) -> None:
    """Raise `BadInput` for a setting without effect that a stage or scheme states itself."""
    for name, given in schemes.items():
        if unused := sorted(recipe.labels[name].unused_settings() & given.keys()):
            raise BadInput(
                f"recipe {recipe.name!r}: labels.{name}.{unused[0]} has no effect without limits; "
                "remove it"
            )
    for name, given in stages.items():
        stage = recipe.stages[name]
        unknown = set() if is_known(stage) else {"network", "features"}  # they may have an effect
        if unused := sorted((stage.unused_settings() & given.keys()) - unknown):
            start = f"starts from {stage.start!r}" if stage.start else "starts from nothing"
            raise BadInput(
                f"recipe {recipe.name!r}: stages.{name}.{unused[0]} has no effect, since the stage "
                f"{start} and trains {stage.train!r}; remove it"
            )


def _assign(table: dict[str, Any], path: str, value: Any) -> None:
    """Set the value at a dotted key, in a table that a recipe can have."""
    *parents, last = path.split(".")
    if "" in {*parents, last}:
        raise BadInput(f"--set {path}: a key is empty; expected e.g. stages.baseline.epochs")
    for depth, key in enumerate(parents):
        known = [*table, *_may_add(parents[:depth])]
        if key not in known:
            raise BadInput(f"--set {path}: {key!r}{_hint(key, known)}")
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise BadInput(f"--set {path}: {key!r} is a value, not a table; leave out {last!r}")
    if not parents and last not in Recipe.model_fields:
        raise BadInput(f"--set {path}: {last!r}{nearest(last, Recipe.model_fields)}")
    table[last] = value


def _may_add(where: list[str]) -> list[str]:
    """Keys that a setting may add to the table at `where`; not stages and schemes, whose names are free."""
    if not where:
        return [*Recipe.model_fields, "defaults"]
    return _keys_at(where) if len(where) > 1 or where == ["defaults"] else []


def _first_line(error: ValidationError, defaults: dict[str, Any], stages: dict[str, Any]) -> str:
    """Describe the first fault in one line, with the right name beside the wrong one."""
    # A misspelt key also makes the right one missing: report the misspelling.
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
    """True if the nested tables of `table` have a value at `path`, which may lead into a list there."""
    for key in path:
        if not isinstance(table, dict):
            return True
        if key not in table:
            return False
        table = table[key]
    return bool(path)


def _keys_at(where: list[str]) -> list[str]:
    """Keys that the table at `where` may have."""
    model: Any = Recipe
    if where and where[0] == "data":
        model = Data
    elif where and where[0] == "labels":
        model = LabelScheme
    elif where and where[0] in ("stages", "defaults"):
        model = {"network": Network, "progressive_resize": ProgressiveResize}.get(where[-1], Stage)
    return list(model.model_fields)
