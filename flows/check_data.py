"""Flow: check a data set before training, and its labels after one."""

from __future__ import annotations

from dataclasses import replace

from prefect import flow
from prefect.runtime import flow_run

from flows.check_steps import MINUTES, check_dataset, newest_evidence
from flows.parameters import Address, Language, OwnRecipe, RecipeChoice, RunRequest, Settings
from flows.prepare_data import prepare_dataset
from tasks.cache.cached_task import CacheOptions, cached
from tasks.cache.check_keys import checking_files
from tasks.cache.keys import versions
from tasks.check_files import check_files, load_checked_files
from tasks.io.findings import load_checked
from tasks.io.locations import find_data, store_address
from tasks.monitoring.prefect_ui import show_check
from tasks.progress import Event, emit
from tasks.reporting.check_page import check_page
from tasks.reporting.findings_table import findings_csv
from tasks.reporting.html import load_words
from tasks.store.addresses import without_secrets
from tasks.store.base import Ref, Store
from tasks.store.marker import check_store
from tasks.store.opening import open_store
from tasks.store.outages import OUTAGE
from tasks.vision.check.findings import Basis, Finding, Kind
from tasks.vision.data.dataset import Description
from tasks.vision.data.sources import fingerprint
from tasks.vision.errors import BadInput
from tasks.vision.recipe.schema import Strict

LENIENT = 0.999  # share of files that may be damaged, where a run would refuse so many


class CheckResult(Strict):
    """What a check of a data set has found.

    Attributes:
        data: as given. dataset: sha256:... images: that could be read. counts: pictures by kind of finding.
        few: classes with few training images, and how many.
        judged: how many labels were judged, 0 before a training; `wrong`, about how many of the suspicious ones
            are wrong; and `judge`, by which stage.
        refused: why a run would stop on this data, or "". page, table: their paths or addresses.
    """

    data: str
    dataset: str
    image_size: int
    images: int
    classes: int
    counts: dict[Kind, int]
    few: dict[str, int]
    judged: int
    wrong: int
    basis: Basis | None
    judge: str
    refused: str
    page: str
    table: str
    findings: tuple[Finding, ...]


@flow(name="check-data", flow_run_name="check {recipe}", persist_result=False)
def check_data(
    recipe: RecipeChoice = "photos",
    own_recipe: OwnRecipe = None,
    data: Address = None,
    store: Address = None,
    settings: Settings = None,
    refresh: bool = False,
    lang: Language = "en",
) -> CheckResult:
    """Check a data set: damaged, dark, blurred, blank and duplicate pictures, and labels that may be wrong.

    The data set is prepared as a run would prepare it. Stores a page as pages/ID.html and a table of all
    findings as pages/ID.csv. Nothing is removed or changed.

    Args:
        recipe: the built-in recipe whose image size and split are used.
        own_recipe: the TOML text of a recipe of your own, used instead of the built-in one.
        data: digits, cifar10, or a folder, archive, table or s3:// address of images; the recipe's by default.
        store: a folder or s3://bucket/prefix for all results; defaults to the worker's RELEVO_STORE.
        settings: recipe settings to override, e.g. {"data.image_size": 128}.
        refresh: check again, ignoring the cache.
        lang: language of the page, English or Spanish.
    """
    request = RunRequest(
        recipe,
        store_address(store),
        own_recipe=own_recipe,
        data=data,
        settings=settings,
        refresh=refresh,
    )
    home = open_store(request.store, retry_for=OUTAGE)
    check_store(home)
    dataset, about, refused = _prepared(request, home)
    refs = check_dataset(dataset, newest_evidence(dataset, home), home, refresh=refresh)
    refs = refs.model_copy(update={"files": _check_files(request, about.image_size, home)})
    checked = load_checked(dataset, refs, home)
    version, name = versions("relevo")["relevo"], f"pages/{flow_run.id}"
    shown = without_secrets(request.source)
    title = shown.rstrip("/").rpartition("/")[2]
    page = check_page(title, checked, refs.judge, version, refused, load_words(lang))
    home.write(f"{name}.html", page)
    home.write(f"{name}.csv", findings_csv(checked.findings))
    result = CheckResult(
        data=shown,
        dataset=f"sha256:{dataset.digest}",
        image_size=about.image_size,
        images=len(checked.whole),
        classes=len(about.classes),
        counts=checked.counts,
        few={each.label: each.images for each in checked.few},
        judged=checked.labels.judged if checked.labels else 0,
        wrong=checked.labels.wrong if checked.labels else 0,
        basis=checked.labels.basis if checked.labels else None,
        judge=refs.judge,
        refused=refused,
        page=home.address(f"{name}.html"),
        table=home.address(f"{name}.csv"),
        findings=tuple(checked.findings),
    )
    show_check(result.data, result.page, result.table, result.counts.items())
    return result


def _prepared(request: RunRequest, store: Store) -> tuple[Ref, Description, str]:
    """Return the data set and its description; and where too many files are damaged for a run, what that says.

    Raises:
        BadInput: the data can't be used at all.
    """
    try:
        return *prepare_dataset(request, store)[:2], ""
    except BadInput as error:
        lenient = {**(request.settings or {}), "data.max_unreadable": LENIENT}
        found = prepare_dataset(replace(request, settings=lenient), store)[:2]
        emit(Event("prepare data", f"a run would stop here: {error}"))
        return *found, str(error)


def _check_files(request: RunRequest, image_size: int, store: Store) -> Ref | None:
    """Return the findings about the files, unless the data has none, as digits."""
    source = find_data(request.source)
    if source.path is None:
        return None
    work = checking_files(fingerprint(source), image_size)
    options = CacheOptions(refresh=request.refresh, minutes=MINUTES)
    call = cached(check_files, work, store, "check files", load_checked_files, options)
    return call(request.source, image_size, store)[0].ref
