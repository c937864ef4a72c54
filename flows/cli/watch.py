"""`relevo watch`: start a recipe's chain when its data has changed by enough."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from flows.cli.options import (
    JsonOption,
    SeedOption,
    SetOption,
    StageOption,
    StoreOption,
    all_settings,
)
from flows.cli.printing.tables import print_run
from flows.cli.running_flow import check_device, check_results_store, running_flow
from tasks.io.locations import store_address
from tasks.store.opening import open_store
from tasks.vision.errors import BadInput
from tasks.vision.text import printable

if TYPE_CHECKING:
    from tasks.runs.summary import RunSummary
    from tasks.watch.result import WatchResult

OWN_PHOTOS = "photos"  # the recipe for a source that is given alone


def watch(
    source: str,
    *,
    data: str | None = None,
    at_least: str = "1%",
    settle: str = "10m",
    store: StoreOption = None,
    stage: StageOption = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    dispatch: Literal["inline", "workers"] = "inline",
    lang: Literal["en", "es"] = "en",
    as_json: JsonOption = False,
) -> int:
    """Look at data once, by a listing, and start a recipe's chain if it has changed by enough.

    Example: relevo watch photos.toml --at-least 50 --settle 30m

    No file is read. Names, sizes and times (ETags in a bucket) are compared with those of the last run that a
    watch started. Have cron give the command every few minutes, or use the flow's schedule on a fleet.

    Parameters
    ----------
    source
        A recipe, as for `relevo run`; or a folder, archive, table or s3:// address of images, for which the
        recipe is photos.
    data
        A folder, archive, table or s3:// address of images, by default the recipe's.
    at_least
        How many files, or which share of them, have to be added, removed or written to: 50, 1%.
    settle
        How long nothing may have changed before a run starts, so that many uploads are one: 90s, 10m, 2h.
    dispatch
        Train in this process, or send the run to workers of the Prefect server at PREFECT_API_URL.
    lang
        Language of the report: English or Spanish.
    """
    from flows.parameters import RunRequest, recipe_parameters
    from tasks.io.durations import duration_of
    from tasks.runs.aliases.history import this_user
    from tasks.watch.enough import Enough
    from tasks.watch.look import look, state_here
    from tasks.watch.result import result_of

    enough, rest = Enough.parse(at_least), duration_of(settle, "--settle")
    address = store_address(store)
    recipe, given = _recipe_and_data(source, data)
    named = recipe_parameters(recipe)
    request = RunRequest(
        named.get("recipe", OWN_PHOTOS),
        address,
        own_recipe=named.get("own_recipe"),
        data=given,
        stages=tuple(stage or ()),
        settings=all_settings(set_, seed),
        lang=lang,
    )
    request.recipe.ordered(stage or [])
    check_results_store(address)
    home, name = open_store(address), request.recipe.name
    if dispatch == "inline":  # Prefect's server is not needed to look
        seen = look(home, name, request.source, enough, rest, partial(state_here, home))
        if seen.decision != "start":
            return _print(result_of(seen), None, as_json)
    check_device(request.recipe, dispatch)
    with running_flow(dispatch):
        from flows.watch import WatchRequest

        asked = WatchRequest(request, dispatch, lang)
        if dispatch == "workers":
            seen = look(home, name, request.source, enough, rest, asked.state_of)
        begun = seen.decision == "start"
        done, summary = asked.start(seen, this_user()) if begun else (result_of(seen), None)
    return _print(done, summary, as_json)


def _print(done: WatchResult, summary: RunSummary | None, as_json: bool) -> int:
    if as_json:
        print(done.model_dump_json())
        return 0
    for line in done.lines():
        print(printable(line))
    if summary:
        print_run(summary)
    return 0


def _recipe_and_data(source: str, data: str | None) -> tuple[str, str | None]:
    """Tell a recipe from a source of images that is given in its place."""
    from flows.recipes.load import is_recipe

    if is_recipe(source):
        return source, data
    if data is not None:
        raise BadInput(
            f"watch {source!r} is no recipe; expected one beside --data, or the images alone"
        )
    return OWN_PHOTOS, source
