"""Flow: train a stage with every combination of some settings, and choose the best by validation."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from prefect import flow
from prefect.runtime import flow_run
from pydantic import Field, JsonValue

from flows.dispatch.destinations import check_deployments
from flows.dispatch.dispatch_stages import DEPLOYMENT
from flows.dispatch.open_server import warn_of_open_server
from flows.experiment import experiment
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
from flows.sweeps.sweep_plan import AT_ONCE, SweepPlan, plan_sweep
from flows.sweeps.sweep_runs import SWEEP_RUN, AllRuns, Prepared, train_runs
from flows.sweeps.sweep_search import Search
from flows.training.trainings import StageFailed
from tasks.io.locations import store_address
from tasks.monitoring.prefect_sweep import show_sweep
from tasks.progress import Event, emit
from tasks.reporting.html import load_words
from tasks.reporting.sweep_page import sweep_page
from tasks.runs.publish import run_name
from tasks.runs.sweeps.record import (
    SUFFIX,
    Chosen,
    Combination,
    SweepSummary,
    find_attempt,
    write_sweep,
)
from tasks.runs.sweeps.sweep_range import Range
from tasks.store.base import Store, sha256_of
from tasks.store.marker import check_store
from tasks.store.opening import open_store
from tasks.store.outages import OUTAGE
from tasks.sweeps.grid import MAX_RUNS, Variation, shown
from tasks.sweeps.results import rank
from tasks.vision.recipe.data import MAX_FOLDS


def _run_name() -> str:
    chosen = flow_run.parameters
    return f"sweep {'own recipe' if chosen.get('own_recipe') else chosen['recipe']}"


@flow(name="sweep", flow_run_name=_run_name, persist_result=False)
def sweep(
    over: list[Variation],
    recipe: RecipeChoice = "digits",
    own_recipe: OwnRecipe = None,
    data: Address = None,
    store: Address = None,
    stage: Annotated[str | None, Field(max_length=100)] = None,
    seeds: Annotated[int, Field(ge=1, le=MAX_RUNS)] = 1,
    folds: Annotated[int | None, Field(ge=2, le=MAX_FOLDS)] = None,
    search: Annotated[int | None, Field(ge=1, le=MAX_RUNS)] = None,
    seed: Seed = None,
    max_epochs: Epochs = None,
    settings: Settings = None,
    dispatch: Dispatch = "inline",
    at_once: Annotated[int, Field(ge=1, le=MAX_RUNS)] = AT_ONCE,
    lang: Language = "en",
) -> SweepSummary:
    """Train a stage with combinations of some settings, all or the best found, and choose by validation.

    What is cached is not trained again, so a sweep that was stopped goes on where it was.

    Args:
        over: the recipe's settings to vary, each with the values to try, or a range to search.
        recipe: the built-in recipe whose settings are varied.
        own_recipe: the TOML text of a recipe of your own, used instead of the built-in one.
        data: digits, cifar10, or a folder, archive, table or s3:// address of images; the recipe's by default.
        store: a folder or s3://bucket/prefix for all results; defaults to the worker's RELEVO_STORE.
        stage: the stage whose validation accuracy decides; by default the last one that is varied.
        seeds: number of trainings of each combination, with consecutive seeds.
        folds: parts for cross-validation over train and validation; by default the recipe's own split.
        search: number of combinations that Optuna picks from the values and ranges; by default all are tried.
        seed: the first seed; defaults to the recipe's.
        max_epochs: upper limit of the epochs of every stage, for a quick trial.
        settings: recipe settings to override in all runs, e.g. {"stages.baseline.epochs": 3}.
        dispatch: inline trains one after the other here; workers sends each to the pool of GPU workers.
        at_once: how many may be under way at the same time, with dispatch to workers.
        lang: language of the page and the report, English or Spanish.
    """
    started = datetime.now(UTC)
    request = RunRequest(
        recipe,
        store_address(store),
        own_recipe=own_recipe,
        data=data,
        stages=(stage,) if stage else (),
        seed=seed,
        max_epochs=max_epochs,
        settings=settings,
        lang=lang,
    )
    warn_of_open_server()
    plan, home = (
        plan_sweep(request, over, seeds, folds, search),
        open_store(request.store, retry_for=OUTAGE),
    )
    if flow_run.run_count > 1 and (summary := find_attempt(home, flow_run.id)):
        return summary
    if dispatch == "workers":
        for name in (SWEEP_RUN, DEPLOYMENT):
            check_deployments(name, plan.runs[0].request.recipe.ordered([plan.stage]).values())
    check_store(home)
    prepared = Prepared(home)
    runs = Search(plan, home, prepared) if search else AllRuns(plan, prepared)
    ranked = rank(train_runs(runs, home, at_once if dispatch == "workers" else None), home)
    if ranked[0].verdict != "best":
        reason = next(run.reason for run in ranked[0].runs if run.reason)
        raise StageFailed(f"none of the settings could be trained: {reason}")
    emit(Event("sweep", f"best by validation: {shown(ranked[0].settings) or 'the only settings'}"))
    winner = plan.request_of(ranked[0].settings)
    run = experiment(
        recipe=recipe,
        own_recipe=own_recipe,
        data=data,
        store=request.store,
        stages=[plan.stage],
        seed=seed,
        max_epochs=max_epochs,
        settings=dict(winner.settings or {}),
        dispatch=dispatch,
        lang=lang,
    )
    metrics = run.stages[plan.stage].metrics
    chosen = Chosen(
        settings=ranked[0].settings,
        run=run.run,
        accuracy=metrics.accuracy,
        interval=metrics.accuracy_interval,
        images=metrics.images,
        command=winner.command(),
    )
    summary = publish_sweep(plan, ranked, chosen, started, home)
    show_sweep(summary)
    return summary


def publish_sweep(
    plan: SweepPlan, ranked: list[Combination], chosen: Chosen, started: datetime, home: Store
) -> SweepSummary:
    """Write the sweep's page and record into its folder."""
    recipe = plan.first
    name = f"{run_name(recipe.name, started)}{SUFFIX}"
    ranges = {path: each for path, each in plan.space.items() if isinstance(each, Range)}
    summary = SweepSummary(
        sweep=name,
        recipe=recipe.name,
        store=home.uri,
        page=home.address(f"sweeps/{name}/sweep.html"),
        page_sha256="0" * 64,
        stage=plan.stage,
        over={
            each.path: _values_tried(each.path, ranked)
            if each.path in ranges
            else tuple(each.listed())
            for each in plan.over
        },
        search=plan.search,
        ranges=ranges,
        seeds=plan.seeds,
        folds=plan.folds,
        combinations=tuple(ranked),
        chosen=chosen,
        command=plan.command(),
        started=started,
        seconds=round((datetime.now(UTC) - started).total_seconds(), 3),
        flow_run=flow_run.id,
    )
    page = sweep_page(summary, load_words(plan.request.lang)).encode()
    summary = summary.model_copy(update={"page_sha256": sha256_of(page)[0]})
    write_sweep(summary, page, home)
    return summary


def _values_tried(path: str, tried: list[Combination]) -> tuple[JsonValue, ...]:
    """The numbers of a range that were tried, in order."""
    values = {each.settings[path] for each in tried}
    return tuple(sorted(values))  # type: ignore[type-var]
