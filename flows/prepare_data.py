"""Flow: a source of images becomes a prepared data set in the store."""

from __future__ import annotations

from typing import Any

from prefect import flow

from tasks.caching import cached
from tasks.prepare import load_dataset, preparation, prepare_images
from tasks.store import Ref
from tasks.vision.dataset import Dataset
from tasks.vision.loading import load_recipe
from tasks.vision.recipe import Recipe
from tasks.vision.sources import find_source


def prepared(
    recipe: Recipe, data: str | None, store: str, *, refresh: bool = False
) -> tuple[Ref, Dataset]:
    """The prepared data set for a recipe, from the cache or anew; `data` overrides its source."""
    given = data or recipe.data.source
    work = preparation(recipe.data, find_source(given))
    call = cached(prepare_images, work, store, "prepare data", refresh=refresh, minutes=24 * 60)
    ref, _ = call(given, recipe.data.model_dump(mode="json"), work.ingredients, store)
    return ref, load_dataset(ref, store)


@flow(name="prepare-data", flow_run_name="prepare {recipe}", persist_result=False)
def prepare_data(
    recipe: str = "digits", data: str | None = None, store: str = "artifacts"
) -> dict[str, Any]:
    """Prepare a recipe's images: decode, resize, split, and publish them under their content's hash."""
    ref, dataset = prepared(load_recipe(recipe), data, store)
    return {"dataset": ref.model_dump(mode="json"), **dataset.description.model_dump(mode="json")}
