"""Flow: a source of images becomes a prepared data set in the store."""

from __future__ import annotations

from typing import Any

from prefect import flow

from tasks.caching import cached
from tasks.kept import load_dataset
from tasks.keys import preparation
from tasks.prepare import prepare_images
from tasks.store import Ref
from tasks.vision.labels import apply_scheme
from tasks.vision.loading import load_recipe
from tasks.vision.recipe import Recipe
from tasks.vision.sources import find_source


def prepared(
    recipe: Recipe, data: str | None, store: str, *, refresh: bool = False
) -> tuple[Ref, list[str]]:
    """The prepared data set for a recipe and its classes; `data` overrides the recipe's source.

    Every label scheme is checked against the classes here, before anything is trained.
    """
    given = data or recipe.data.source
    work = preparation(recipe.data, find_source(given))
    call = cached(prepare_images, work, store, "prepare data", refresh=refresh, minutes=24 * 60)
    schemes = [recipe.scheme(stage) for stage in recipe.stages.values()]
    named = [scheme.model_dump(mode="json") for scheme in schemes if scheme]
    ref, _ = call(given, recipe.data.model_dump(mode="json"), named, work.ingredients, store)
    classes = load_dataset(ref, store).classes
    for scheme in schemes:
        apply_scheme(scheme, classes)
    return ref, classes


@flow(name="prepare-data", flow_run_name="prepare {recipe}", persist_result=False)
def prepare_data(
    recipe: str = "digits", data: str | None = None, store: str = "artifacts"
) -> dict[str, Any]:
    """Prepare a recipe's images: decode, resize, split, and publish them under their content's hash."""
    ref, _ = prepared(load_recipe(recipe), data, store)
    about = load_dataset(ref, store).description.model_dump(mode="json")
    return {"dataset": ref.model_dump(mode="json"), **about}
