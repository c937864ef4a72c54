"""Flow: a source of images becomes a prepared data set in the store."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.parameters import Address, OwnRecipe, RecipeChoice, RunRequest
from tasks.cache.cached_task import CacheOptions, Published, cached
from tasks.cache.keys import preparation
from tasks.io.load import load_dataset
from tasks.io.locations import local_data, store_address
from tasks.prepare import prepare_images
from tasks.store.base import Ref, Store
from tasks.store.marker import mark_store
from tasks.store.opening import open_store
from tasks.store.outages import OUTAGE
from tasks.vision.data.dataset import Description
from tasks.vision.data.sources import find_source
from tasks.vision.data.targets import apply_scheme


def prepared(request: RunRequest, store: Store) -> tuple[Ref, Description]:
    """The prepared data set that was asked for, and what it holds.

    Every label scheme is checked against the classes here, before anything is trained.
    """
    recipe, given = request.recipe, local_data(request.source)
    work = preparation(recipe.data, find_source(given))
    schemes = [recipe.scheme(stage) for stage in recipe.stages.values()]
    call = cached(
        prepare_images,
        work,
        store,
        "prepare data",
        Published.of,
        CacheOptions(refresh=request.refresh, minutes=24 * 60),
    )
    named = [scheme for scheme in schemes if scheme]
    prepared, _ = call(given, recipe.data, named, work.ingredients["source"], store)
    about = load_dataset(prepared.ref, store).description
    for scheme in schemes:
        apply_scheme(scheme, about.classes)
    return prepared.ref, about


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
    request = RunRequest(recipe, store_address(store), own_recipe=own_recipe, data=data)
    home = open_store(request.store, retry_for=OUTAGE)
    mark_store(home)
    ref, about = prepared(request, home)
    return {"dataset": ref.model_dump(mode="json"), **about.model_dump(mode="json")}
