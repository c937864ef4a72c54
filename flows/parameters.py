"""The flows' parameters: few, typed, described and bounded, since Prefect's UI makes a form of them.

A flow may run on a machine that shares no folder with whoever started it, so that an own recipe travels as
its text, and a store that is left out is the one that the worker's environment names.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from flows.recipes.load import load_recipe
from tasks.store.base import Ref
from tasks.vision.errors import BadInput
from tasks.vision.recipe.parse import parse_recipe
from tasks.vision.recipe.recipe import Recipe

# Prefect takes descriptions from a flow's docstring, and bounds from here.
RecipeChoice = Literal["digits", "cifar10", "classroom"]
OwnRecipe = Annotated[str | None, Field(max_length=100_000)]
Address = Annotated[str | None, Field(max_length=2000)]
Seed = Annotated[int | None, Field(ge=0, lt=2**53)]
Epochs = Annotated[int | None, Field(ge=1, le=1000)]
Settings = dict[str, Any] | None
Dispatch = Literal["inline", "workers"]
Language = Literal["en", "es"]


class StageInputs(BaseModel):
    """What `experiment` has ready for a stage that it sends to a worker; a person leaves it out."""

    model_config = ConfigDict(extra="forbid")

    control: Literal["scratch", "random"] | None = None
    dataset: Ref
    start: Ref | None = None


def find_recipe(
    recipe: str,
    own_recipe: str | None,
    settings: Mapping[str, Any] | None = None,
    seed: int | None = None,
    max_epochs: int | None = None,
) -> Recipe:
    """The recipe that a flow's parameters name.

    Raises:
        BadInput: there is no such recipe, or its values can't be used.
    """
    changes = all_changes(settings, seed)
    own = own_recipe is not None
    found = parse_recipe(own_recipe or "", "own", changes) if own else load_recipe(recipe, changes)
    return found.with_max_epochs(max_epochs) if max_epochs else found


def all_changes(settings: Mapping[str, Any] | None, seed: int | None) -> dict[str, Any]:
    """Settings and seed as one table of dotted keys."""
    return {**(settings or {}), **({"seed": seed} if seed is not None else {})}


def explicit_settings(
    recipe: str,
    own_recipe: str | None,
    settings: Mapping[str, Any] | None,
    seed: int | None,
    max_epochs: int | None,
) -> dict[str, Any]:
    """Settings and seed that come to the same recipe without `max_epochs`, as the command line has none.

    Raises:
        BadInput: as for `find_recipe`.
    """
    changes = all_changes(settings, seed)
    if max_epochs is None:
        return changes
    stages = find_recipe(recipe, own_recipe, settings, seed).stages
    for name, stage in stages.items():
        for key in sorted({"epochs", "head_epochs"} - stage.unused_settings()):
            if getattr(stage, key) > max_epochs:
                changes[f"stages.{name}.{key}"] = max_epochs
    return changes


def recipe_parameters(given: str) -> dict[str, Any]:
    """A built-in recipe's name, or the text of a TOML file, as a flow takes them.

    Raises:
        BadInput: there is no such file, or it can't be read.
    """
    load_recipe(given)
    path = Path(given)
    if not path.is_file():
        return {"recipe": given}
    text = path.read_text("utf-8")
    # Above all tables; a name that the file gives itself stays.
    named = "name" in tomllib.loads(text)
    return {"own_recipe": text if named else f'name = "{_plain(path.stem)}"\n{text}'}


def _plain(name: str) -> str:
    if any(character in name for character in '"\\') or not name.isprintable():
        raise BadInput(f"recipe {name!r}: rename the file; expected a name without \\ and quotes")
    return name
