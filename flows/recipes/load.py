"""Loading a recipe, a built-in one by its name or a TOML file by its path, and checking it for a run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from tasks.io.locations import find_data
from tasks.runs.starts import models_in
from tasks.vision.errors import BadInput, nearest
from tasks.vision.files.archives import ARCHIVE_SUFFIXES
from tasks.vision.recipe.from_model import FindModel
from tasks.vision.recipe.parse import parse_recipe
from tasks.vision.recipe.recipe import Recipe
from tasks.vision.recipe.toml import MAX_BYTES


def load_recipe(
    given: str, settings: Mapping[str, Any] | None = None, find: FindModel | None = None
) -> Recipe:
    """Load a built-in recipe by its name, or a TOML file by its path.

    Args:
        settings: dotted key -> value, e.g. {"stages.baseline.epochs": 3}; they override the recipe.
        find: looks up the trained models that stages start from; without it they are not checked.

    Raises:
        BadInput: no such recipe, not TOML, or a key or value that a recipe can't have.
    """
    builtin = _built_in()
    if given in builtin:
        return parse_recipe(builtin[given].read_text("utf-8"), given, settings or {}, find)
    try:
        is_file, there = Path(given).is_file(), Path(given).exists()
    except OSError as error:  # too long, or in a folder without permission
        raise BadInput(
            f"recipe {given!r} can't be a path ({error.strerror}); expected {', '.join(builtin)}, "
            "or the path of a .toml file"
        ) from None
    if is_file and not given.lower().endswith(ARCHIVE_SUFFIXES):
        try:
            with Path(given).open(encoding="utf-8") as file:
                text, name = file.read(MAX_BYTES + 1), Path(given).stem  # more is refused below
        except OSError as error:
            raise BadInput(
                f"recipe {given!r} can't be read ({error.strerror or error}); expected a file that you "
                "may read: change its permissions"
            ) from None
        except UnicodeDecodeError as error:
            raise BadInput(
                f"recipe {given!r} can't be read: {error}; give a UTF-8 TOML file"
            ) from None
    elif there:
        raise BadInput(
            f"recipe {given!r} is not a TOML file; expected {', '.join(builtin)}, or the path of a .toml"
            f" file: write one for your images by {shlex.join(['relevo', 'new-recipe', given])}"
        )
    else:
        raise BadInput(
            f"recipe {given!r}{nearest(given, builtin)} (or give the path of a .toml file)"
        )
    return parse_recipe(text, name, settings or {}, find)


def is_recipe(given: str) -> bool:
    """True for the name of a built-in recipe, and for what is named like a TOML file."""
    return given in _built_in() or given.lower().endswith(".toml")


def _built_in() -> dict[str, Traversable]:
    files = resources.files("flows.recipes").iterdir()
    return {each.name[:-5]: each for each in files if each.name.endswith(".toml")}


def check_recipe(
    recipe: str,
    data: str | None,
    stages: list[str] | None,
    settings: dict[str, Any],
    store: str,
) -> Recipe:
    """Load a recipe and check that its stages, its data and the models in `store` exist.

    Raises:
        BadInput, StoreError: something is not there, or can't be used.
    """
    loaded = load_recipe(recipe, settings, models_in(store))
    loaded.ordered(stages or [])
    find_data(data or loaded.data.source)
    return loaded
