"""Check the arguments of a run or a plan, before Prefect is imported and its server started."""

from __future__ import annotations

from typing import Any

from flows.recipes.load import load_recipe
from tasks.io.locations import find_data
from tasks.runs.starts import models_in
from tasks.vision.recipe.recipe import Recipe


def check_recipe(
    recipe: str,
    data: str | None,
    stages: list[str] | None,
    settings: dict[str, Any],
    store: str,
) -> Recipe:
    """Load the recipe, and look whether its stages, its data and the models in `store` are there.

    Raises:
        BadInput, StoreError: something is not there, or can't be used.
    """
    loaded = load_recipe(recipe, settings, models_in(store))
    loaded.ordered(stages or [])
    find_data(data or loaded.data.source)
    return loaded
