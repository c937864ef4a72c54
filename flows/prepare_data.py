"""Flow: prepare a data set from a source of images and store it."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.parameters import Address, OwnRecipe, RecipeChoice, RunRequest, Settings
from tasks.cache.cached_task import CacheOptions, Published, cached
from tasks.cache.keys import preparation
from tasks.io.locations import find_data, store_address
from tasks.io.prepared import check_dataset, load_dataset
from tasks.prepare import help_prepare, prepare_images
from tasks.store.base import Ref, Store
from tasks.store.marker import check_store, mark_store
from tasks.store.opening import open_store
from tasks.store.outages import OUTAGE
from tasks.vision.data.batches.targets import apply_scheme
from tasks.vision.data.dataset import Description
from tasks.vision.data.pieces.picture_set import OnShare
from tasks.vision.data.sources import contents_of


def prepare_dataset(
    request: RunRequest, store: Store, on_share: OnShare = lambda pieces: None
) -> tuple[Ref, Description, bool]:
    """Return the request's data set, its description, and whether it was cached; else it is prepared.

    Checks every label scheme against the classes before anything is trained.

    Args:
        on_share: called with the number of pieces to make, if other processes can make some of them.
    """
    recipe = request.recipe
    contents = contents_of(find_data(request.source))
    work = preparation(recipe.data, contents.digest)
    schemes = [recipe.scheme(stage) for stage in recipe.stages.values()]
    call = cached(
        prepare_images,
        work,
        store,
        "prepare data",
        load_prepared,
        CacheOptions(refresh=request.refresh, minutes=24 * 60),
    )
    named = [scheme for scheme in schemes if scheme]
    prepared, hit = call(
        request.source,
        recipe.data,
        named,
        contents,
        store,
        refresh=request.refresh,
        on_share=on_share,
    )
    if hit:  # else the task has marked it
        mark_store(store)  # mends a damaged marker
    about = load_dataset(prepared.ref, store).description
    for scheme in schemes:
        apply_scheme(scheme, about.classes)
    return prepared.ref, about, hit


def load_prepared(ref: Ref, store: Store) -> Published:
    """Return the data set at `ref`. Raises BadInput if there is something else."""
    check_dataset(ref, store)
    return Published.of(ref)


@flow(name="prepare-data", flow_run_name="prepare {recipe}", persist_result=False)
def prepare_data(
    recipe: RecipeChoice = "digits",
    own_recipe: OwnRecipe = None,
    data: Address = None,
    store: Address = None,
    settings: Settings = None,
    helping: bool = False,
) -> dict[str, Any]:
    """Decode, resize and split a recipe's images, and store them under the hash of their content.

    Args:
        recipe: the built-in recipe whose image size and split are used.
        own_recipe: the TOML text of a recipe of your own, used instead of the built-in one.
        data: digits, cifar10, or a folder, archive, table or s3:// address of images; the recipe's by default.
        store: a folder or s3://bucket/prefix for all results; defaults to the worker's RELEVO_STORE.
        settings: recipe settings to override, e.g. {"data.image_size": 64}.
        helping: only decode images for another run that prepares the same data; set by that run.
    """
    request = RunRequest(
        recipe, store_address(store), own_recipe=own_recipe, data=data, settings=settings
    )
    home = open_store(request.store, retry_for=OUTAGE)
    check_store(home)
    if helping:
        contents = contents_of(find_data(request.source))
        return {"pieces": help_prepare(request.source, request.recipe.data, contents, home)}
    ref, about, _ = prepare_dataset(request, home)
    return {"dataset": ref.model_dump(mode="json"), **about.model_dump(mode="json")}
