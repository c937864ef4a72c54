"""Flow: run a whole recipe: prepare the data, train the stages in graph order, write the report."""

from __future__ import annotations

import re
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import partial
from typing import Annotated

from prefect import flow
from prefect.runtime import flow_run
from pydantic import Field

from flows.check_steps import check_for_report
from flows.dispatch.destinations import check_deployments
from flows.dispatch.dispatch_stages import DEPLOYMENT, dispatch_stages
from flows.dispatch.open_server import warn_of_open_server
from flows.dispatch.shared_preparation import ask_for_help
from flows.parameters import (
    Address,
    Dispatch,
    Epochs,
    Language,
    OwnRecipe,
    RecipeChoice,
    RunRequest,
    Seed,
    Settings,
)
from flows.prepare_data import prepare_dataset
from flows.promote import PromotionRequest, check_request, promote_result
from flows.training.machines import check_inline
from flows.training.run_context import RunContext
from flows.training.stages import run_trainings
from flows.training.trainings import trainings_of
from tasks.cache.cached_task import CacheOptions, Published, cached
from tasks.cache.keys import reporting, versions
from tasks.io.findings import FindingRefs
from tasks.io.load import report_files
from tasks.io.locations import store_address
from tasks.monitoring.mlflow import track
from tasks.monitoring.prefect_ui import show_run
from tasks.progress import Event, emit
from tasks.report import report
from tasks.reporting.content import ReportInput
from tasks.runs.incoming import what_came_in
from tasks.runs.listing import find_attempt, reserved
from tasks.runs.publish import FinishedRun, publish, run_name
from tasks.runs.stage_result import StageResult, devices_of
from tasks.runs.starts import Starts, other_fits
from tasks.runs.summary import RunSummary
from tasks.store.base import Ref, Store
from tasks.store.marker import check_store
from tasks.store.opening import open_store
from tasks.store.outages import OUTAGE
from tasks.vision.check.incoming import Incoming
from tasks.vision.device import require_gpu
from tasks.vision.recipe.recipe import Recipe
from tasks.vision.recipe.to_toml import as_toml


def _run_name() -> str:
    # A name typed into Prefect's form stays; names that Prefect generates are two words and a dash.
    if (name := flow_run.name) and not re.fullmatch("[a-z]+-[a-z]+", name):
        return str(name)
    chosen = flow_run.parameters
    return str(
        chosen.get("run") or ("own recipe" if chosen.get("own_recipe") else chosen["recipe"])
    )


@flow(name="experiment", flow_run_name=_run_name, persist_result=False)
def experiment(
    recipe: RecipeChoice = "digits",
    own_recipe: OwnRecipe = None,
    data: Address = None,
    store: Address = None,
    stages: list[str] | None = None,
    seed: Seed = None,
    max_epochs: Epochs = None,
    settings: Settings = None,
    refresh: bool = False,
    dispatch: Dispatch = "inline",
    lang: Language = "en",
    run: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9_-]{1,100}$")] = None,
    promotion: PromotionRequest | None = None,
) -> RunSummary:
    """Train a recipe's chain of models and report what transfer learning was worth.

    Args:
        recipe: the built-in recipe to train.
        own_recipe: the TOML text of a recipe of your own, used instead of the built-in one.
        data: digits, cifar10, or a folder, archive, table or s3:// address of images; the recipe's by default.
        store: a folder or s3://bucket/prefix for all results; defaults to the worker's RELEVO_STORE.
        stages: train only these stages and those that they start from; defaults to all.
        seed: random seed of the run; defaults to the recipe's.
        max_epochs: upper limit of the epochs of every stage, for a quick trial.
        settings: recipe settings to override, e.g. {"stages.baseline.epochs": 3}.
        refresh: compute everything again, ignoring the cache.
        dispatch: inline trains in this process; workers sends each stage to the pool of GPU workers.
        lang: language of the report, English or Spanish.
        run: name of the run's folder in the store, which must be new; defaults to the time and the recipe.
        promotion: which stage's model gets which @ALIAS when the run has ended, and on what condition.
    """
    started = datetime.now(UTC)
    request = RunRequest(
        recipe,
        store_address(store),
        own_recipe=own_recipe,
        data=data,
        stages=tuple(stages or ()),
        seed=seed,
        max_epochs=max_epochs,
        settings=settings,
        refresh=refresh,
        lang=lang,
    ).pinned()
    warn_of_open_server()
    plan, home = request.recipe, open_store(request.store, retry_for=OUTAGE)
    # A run that crashed after it was published needs nothing more when it is resumed.
    resumed = flow_run.run_count > 1
    if promotion:
        check_request(promotion, plan.ordered(stages or []), dispatch)
    if resumed and (summary := find_attempt(request.store, flow_run.id)):
        if promotion:
            promote_result(promotion, summary.run, request.store, dispatch)
        return summary
    if dispatch == "workers":
        check_deployments(DEPLOYMENT, plan.ordered(stages or []).values())
    else:
        check_inline(plan.ordered(stages or []))
        if plan.require_gpu:
            require_gpu()
    check_store(home)
    # Two runs of one name would overwrite each other's folder.
    with reserved(home, run, wait=resumed) if run else nullcontext():
        # Before the images, which may take hours.
        for note in other_fits(plan):
            emit(Event("recipe", note))
        chosen = plan.ordered(stages or [])
        starts = Starts(plan, chosen, request.source, request.store, request.read)
        plan = starts.recipe
        share = partial(ask_for_help, request) if dispatch == "workers" else lambda pieces: None
        images, about, known = prepare_dataset(request, home, share)
        networks = starts.publish(home)
        context = RunContext(plan, images, about.classes, home, refresh, not known, networks)
        chosen = plan.ordered(stages or [])
        if dispatch == "inline":
            trained = run_trainings(context, chosen, trainings_of(plan, chosen))
            results = trained.by_stage(plan, chosen)
        else:
            shared = {**request.for_workers(plan), "refresh": refresh}
            results = dispatch_stages(context, chosen, shared)
        findings = check_for_report(images, about, results, home, refresh=refresh, new=not known)
        models = {name: result.model for name, result in results.items()}
        incoming = what_came_in(plan.name, images, models, findings, home)
        report = write_report(request, plan, images, results, findings, incoming, home)
        finished = FinishedRun(
            name=run or run_name(plan.name, started),
            recipe=plan,
            source=request.source,
            dataset=images,
            data=about,
            results=results,
            report=report,
            started=started,
            flow_run=flow_run.id,
        )
        summary = publish(finished, home)
        show_run(summary, report, home)
        track(summary, finished, home)
        if promotion:
            promote_result(promotion, summary.run, request.store, dispatch)
        return summary


def write_report(
    request: RunRequest,
    plan: Recipe,
    images: Ref,
    results: dict[str, StageResult],
    findings: FindingRefs | None,
    incoming: Incoming | None,
    store: Store,
) -> Ref:
    """Write the report of the stages' results, unless it is cached; `plan` is the recipe as it ran."""
    content = ReportInput(
        lang=request.lang,
        title=plan.name,
        description=plan.description,
        recipe_toml=as_toml(plan),
        command=request.command(),
        check=request.check_command(),
        seed=plan.seed,
        device="; ".join(devices_of(results)),
        versions=versions("relevo", "tensorflow", "keras", "numpy", "prefect"),
        source=request.source,
        dataset=images,
        stages=results,
        findings=findings,
        incoming=incoming,
    )
    new = any(result.state != "cached" for result in results.values())
    options = CacheOptions(refresh=request.refresh, minutes=60, locked=new)
    work = reporting(content.ingredients())
    written, _ = cached(report, work, store, "write report", load_report, options)(content, store)
    return written.ref


def load_report(ref: Ref, store: Store) -> Published:
    """Return the report at `ref`. Raises ValueError if there is something else."""
    for _ in report_files(ref, store):
        pass
    return Published.of(ref)
