"""Parameters of the flows, typed and bounded, since Prefect's UI generates forms from them.

A flow may run on a machine that shares no folder with its caller. So a user's own recipe is sent as
text, and the store defaults to the one in the worker's environment.
"""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from flows.recipes.load import load_recipe
from flows.same_version import DispatchedInputs
from tasks.io.locations import BUILT_IN
from tasks.runs.starts import Models, models_in
from tasks.store.base import Ref
from tasks.vision.errors import BadInput
from tasks.vision.recipe.from_model import FindModel, StartModel
from tasks.vision.recipe.parse import parse_recipe
from tasks.vision.recipe.recipe import Recipe
from tasks.vision.recipe.schema import Stage
from tasks.vision.recipe.to_toml import toml_value

# Prefect takes descriptions from a flow's docstring, and bounds from here.
RecipeChoice = Literal["digits", "cifar10", "classroom", "photos"]
OwnRecipe = Annotated[str | None, Field(max_length=100_000)]
Address = Annotated[str | None, Field(max_length=2000)]
Seed = Annotated[int | None, Field(ge=0, lt=2**53)]
Epochs = Annotated[int | None, Field(ge=1, le=1000)]
Settings = dict[str, Any] | None
Dispatch = Literal["inline", "workers"]
Language = Literal["en", "es"]
ControlKind = Annotated[str, Field(pattern="^(scratch|sample|random)$")]


class StageInputs(DispatchedInputs):
    """Inputs of a stage that `experiment` dispatches to a worker; empty if a person starts the stage.

    With `controls`, these are trained instead of the stage, and `start` is a network that they share.
    `models` are those that stages of the recipe start from, which the worker may not find itself. `group` and
    `machine` say with which others a machine trains, and which it is.
    """

    controls: tuple[ControlKind, ...] = ()
    dataset: Ref
    start: Ref | None = None
    models: dict[str, StartModel] = Field({}, max_length=1000)
    group: UUID | None = None
    machine: int = Field(0, ge=0, lt=64)

    def for_machines(self, count: int) -> list[StageInputs]:
        """Return the inputs of each of so many machines."""
        return [self.model_copy(update={"machine": machine}) for machine in range(count)]


@dataclass(frozen=True)
class RunRequest:
    """What a flow is asked to do: its parameters, resolved on this machine.

    Attributes:
        choice, own_recipe: a built-in recipe, or the TOML text of another that replaces it.
        data: replaces the recipe's source. store: address. settings: recipe settings to override.
        stages: train only these and those that they start from.
        models: that stages start from, where they were looked up already. read: those that were read here.
    """

    choice: str
    store: str
    own_recipe: str | None = None
    data: str | None = None
    stages: tuple[str, ...] = ()
    seed: int | None = None
    max_epochs: int | None = None
    settings: Mapping[str, Any] | None = None
    refresh: bool = False
    lang: str = "en"
    models: Mapping[str, StartModel] = field(default_factory=dict)
    read: Models = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe with all overrides applied.

        Raises:
            BadInput: the recipe does not exist or a value is invalid.
        """
        found = self._parse(self._find)
        return found.with_max_epochs(self.max_epochs) if self.max_epochs else found

    def _parse(self, find: FindModel | None) -> Recipe:
        if self.own_recipe is None:
            return load_recipe(self.choice, self._changes, find)
        return parse_recipe(self.own_recipe, "own", self._changes, find)

    def _find(self, name: str, stage: Stage) -> StartModel:
        return self.models.get(name) or models_in(self.store, self.read)(name, stage)

    def pinned(self) -> RunRequest:
        """Return the request with permanent names of the models that stages start from, not `latest`."""
        models = self.recipe.models
        if not models:
            return self
        stated = self._parse(None).stages
        names = {
            f"stages.{name}.start": each.address
            for name, each in models.items()
            if each.address != stated[name].start
        }
        return replace(self, settings={**(self.settings or {}), **names}, models=models)

    @property
    def source(self) -> str:
        """Source of the images, as the caller wrote it."""
        return self.data or self.recipe.data.source

    @property
    def _changes(self) -> dict[str, Any]:
        """Settings and seed by dotted key."""
        return {**(self.settings or {}), **({"seed": self.seed} if self.seed is not None else {})}

    def explicit_settings(self) -> dict[str, Any]:
        """Settings and seed that give the same recipe without `max_epochs`, which the command line lacks."""
        changes = self._changes
        if self.max_epochs is None:
            return changes
        for name, stage in replace(self, max_epochs=None).recipe.stages.items():
            for key in sorted({"epochs", "head_epochs"} - stage.unused_settings()):
                if getattr(stage, key) > self.max_epochs:
                    changes[f"stages.{name}.{key}"] = self.max_epochs
        return changes

    def command(self) -> str:
        """Return the command line that repeats the run."""
        words = self._words("run")
        for stage in self.stages:
            words += ["--stage", stage]
        for path, value in self.explicit_settings().items():
            words += ["--seed", str(value)] if path == "seed" else _option(path, value)
        return shlex.join([*words, *self._language])

    def check_command(self) -> str:
        """Return the command line that looks at the run's data set; "" if that comes with relevo."""
        if self.source in BUILT_IN:
            return ""
        words = self._words("check")
        for path, value in self._changes.items():
            words += _option(path, value)
        return shlex.join([*words, *self._language])

    def _words(self, command: str) -> list[str]:
        recipe = self.choice if self.own_recipe is None else f"{self.recipe.name}.toml"
        return ["relevo", command, recipe, *(["--data", self.data] if self.data else [])]

    @property
    def _language(self) -> list[str]:
        return ["--lang", self.lang] if self.lang != "en" else []

    def for_workers(self, recipe: Recipe) -> dict[str, Any]:
        """Return the parameters of runs that train parts of this one, which all of them share.

        Args:
            recipe: as it runs, with the hashes of files that workers need not have.
        """
        hashes = {
            f"stages.{name}.sha256": stage.sha256
            for name, stage in recipe.stages.items()
            if stage.sha256
        }
        settings = {**self._changes, **hashes}
        return {**self.shared(), "settings": settings, "max_epochs": self.max_epochs}

    def shared(self) -> Mapping[str, object]:
        """Return the parameters of this request that all flows which take a recipe have."""
        return {
            "recipe": self.choice,
            "own_recipe": self.own_recipe,
            "store": self.store,
            "settings": self._changes,
        }


def _option(path: str, value: Any) -> list[str]:
    """Return the words that override a setting on a command line."""
    return ["--set", f"{path}={value if isinstance(value, str) else toml_value(value)}"]


def recipe_parameters(given: str) -> dict[str, Any]:
    """Return a flow's parameters for the name of a built-in recipe or the path of a TOML file.

    Raises:
        BadInput: the file does not exist or is unreadable.
    """
    load_recipe(given)
    path = Path(given)
    if not path.is_file():
        return {"recipe": given}
    text = path.read_text("utf-8")
    # The name goes above all tables; one that the file sets itself stays.
    named = "name" in tomllib.loads(text)
    return {"own_recipe": text if named else f'name = "{_plain(path.stem)}"\n{text}'}


def _plain(name: str) -> str:
    if any(character in name for character in '"\\') or not name.isprintable():
        raise BadInput(f"recipe {name!r}: rename the file; expected a name without \\ and quotes")
    return name
