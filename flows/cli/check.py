"""Command: check a data set before training, and its labels after one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

from cyclopts import Parameter

from flows.cli.options import (
    DataOption,
    Flag,
    JsonOption,
    SetOption,
    StoreOption,
    all_settings,
)
from flows.cli.printing.output_files import write_output
from flows.cli.printing.progress_bar import ProgressDisplay
from flows.cli.printing.tables import print_check
from tasks.io.locations import store_address
from tasks.progress import Event
from tasks.store.base import MAX_ARRAYS
from tasks.store.marker import check_store
from tasks.store.opening import open_store
from tasks.vision.errors import BadInput
from tasks.vision.text import printable

if TYPE_CHECKING:
    from flows.check_data import CheckResult

PHOTOS = "photos"  # the recipe by which a folder that is given alone is prepared


def check(
    recipe: str,
    *,
    data: DataOption = None,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    force: Flag = False,
    store: StoreOption = None,
    set_: SetOption = None,
    refresh: Flag = False,
    lang: Literal["en", "es"] = "en",
    as_json: JsonOption = False,
) -> int:
    """Check a data set: damaged, dark, blurred, blank and duplicate pictures, uneven classes, wrong labels.

    Writes a page with a thumbnail of each finding, and a table; removes nothing. Labels that are probably wrong
    are found once a run has trained on this data in the store.

    Example: relevo check photos --output check.html

    Parameters
    ----------
    recipe
        digits, cifar10, classroom, photos, or the path of a TOML file, by which the data is prepared; or a
        folder, archive or table of images, for the recipe photos.
    output
        The page to write, NAME.html, and the table NAME.csv beside it; by default both are in the store.
    force
        Overwrite these files if they exist.
    refresh
        Check again, ignoring the cache.
    lang
        Language of the page: English or Spanish.
    """
    from flows.cli.prefect_server.server import quiet_prefect
    from flows.recipes.load import check_recipe

    if output is not None:
        _check_output(output, force=force)
    recipe, data = _recipe_and_data(recipe, data)
    address, settings = store_address(store), all_settings(set_, None)
    check_recipe(recipe, data, None, settings, address)
    opened = open_store(address)
    opened.check()
    check_store(opened)
    display = ProgressDisplay()
    with quiet_prefect(own_server=True, say=lambda line: display(Event("prefect", line))), display:
        from flows.check_data import check_data
        from flows.parameters import recipe_parameters
        from tasks.progress import listening

        with listening(display):
            found = check_data(
                **recipe_parameters(recipe),
                data=data,
                store=address,
                settings=settings,
                refresh=refresh,
                lang=lang,
            )
    if output is not None:
        found = _written(found, output, address)
    if as_json:
        print(found.model_dump_json())
    else:
        print_check(found)
    return 0


def _recipe_and_data(given: str, data: str | None) -> tuple[str, str | None]:
    """Return recipe and data: a folder, archive, table or address given alone is data."""
    from flows.parameters import RecipeChoice
    from tasks.vision.data.layouts.table import is_table
    from tasks.vision.files.archives import ARCHIVE_SUFFIXES

    if data is not None or given in get_args(RecipeChoice):
        return given, data
    archive = given.lower().endswith(ARCHIVE_SUFFIXES) or is_table(given)
    try:
        folder = Path(given).expanduser().is_dir()
    except (OSError, RuntimeError):  # too long, or an unknown home: no recipe either
        folder = False
    return (PHOTOS, given) if archive or folder or "://" in given else (given, None)


def _check_output(page: Path, *, force: bool) -> None:
    """Refuse an output that can't be written, before anything is looked at."""
    if page.suffix.lower() != ".html":
        raise BadInput(f"--output {printable(page)}: expected a name that ends in .html")
    for path in (page, page.with_suffix(".csv")):
        if path.is_dir() or not path.absolute().parent.is_dir():
            raise BadInput(
                f"--output {printable(page)}: expected a file's name in a folder that is there"
            )
        if path.exists() and not force:
            raise BadInput(
                f"{printable(path)} is there already; --force overwrites it, -o FILE names another"
            )


def _written(found: CheckResult, page: Path, store: str) -> CheckResult:
    """Copy page and table from the store to where the user asks; return their paths."""
    home, table = open_store(store), page.with_suffix(".csv")
    for path, address in ((page, found.page), (table, found.table)):
        key = f"pages/{address.rpartition('/')[2]}"
        write_output("--output", path, home.read(key, MAX_ARRAYS))
    return found.model_copy(update={"page": str(page.absolute()), "table": str(table.absolute())})
