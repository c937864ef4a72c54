"""Flow: a source of images becomes a prepared data set in the store."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.parameters import Address, OwnRecipe, RecipeChoice, find_recipe
from tasks.cache.cached_task import cached
from tasks.cache.keys import preparation
from tasks.io.load import load_dataset
from tasks.io.locations import local_data, store_address
from tasks.prepare import prepare_images
from tasks.store.base import Ref
from tasks.store.opening import open_store
from tasks.store.outages import retry_for
from tasks.store.own import begin
from tasks.vision.data.sources import find_source
from tasks.vision.data.targets import apply_scheme
from tasks.vision.recipe.recipe import Recipe


def prepared(
    recipe: Recipe, data: str | None, store: str, *, refresh: bool = False
) -> tuple[Ref, list[str]]:
    """The prepared data set for a recipe and its classes; `data` overrides the recipe's source.

    Every label scheme is checked against the classes here, before anything is trained.
    """
    given = local_data(data or recipe.data.source)
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
    recipe: RecipeChoice = "digits",
    own_recipe: OwnRecipe = None,
    data: Address = None,
    store: Address = None,
) -> dict[str, Any]:
    """Decode, resize and split a recipe's images, and publish them under their content's hash.

    Args:
        recipe: says how the images are cut.
        own_recipe: an own recipe's TOML, in place of that one.
        data: digits, cifar10, or a folder or archive of images, s3:// too; the recipe's own when left out.
        store: where results are kept, a folder or s3://bucket/prefix; the worker's RELEVO_STORE when
            left out.
    """
    home = store_address(store)
    with retry_for():
        begin(open_store(home))
        ref, _ = prepared(find_recipe(recipe, own_recipe), data, home)
        about = load_dataset(ref, home).description.model_dump(mode="json")
    return {"dataset": ref.model_dump(mode="json"), **about}
