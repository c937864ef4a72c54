"""Command: sweep trains a stage with every combination of some settings."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from flows.cli.options import (
    DataOption,
    JsonOption,
    RecipeArgument,
    SeedOption,
    SetOption,
    StoreOption,
    all_settings,
)
from flows.cli.printing.sweep_table import print_sweep
from flows.cli.running_flow import check_device, check_results_store, running_flow
from tasks.io.locations import find_data, store_address
from tasks.vision.errors import BadInput


def sweep(
    recipe: RecipeArgument = "digits",
    *,
    over: Annotated[list[str] | None, Parameter(negative="", consume_multiple=False)] = None,
    seeds: Annotated[int, Parameter(negative="")] = 1,
    folds: Annotated[int | None, Parameter(negative="")] = None,
    search: Annotated[int | None, Parameter(negative="")] = None,
    stage: str | None = None,
    data: DataOption = None,
    store: StoreOption = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    dispatch: Literal["inline", "workers"] = "inline",
    at_once: Annotated[int | None, Parameter(negative="")] = None,
    lang: Literal["en", "es"] = "en",
    as_json: JsonOption = False,
) -> int:
    """Train a stage with combinations of some settings, all or some that look promising; choose by validation.

    What is cached is not trained again: stopped, the same command goes on. Test images are used once, for the
    settings that win. `relevo show SWEEP` prints the table again.

    Example: relevo sweep digits --over stages.ten_class.lr_scale=0.5,1,2 --seeds 5

    Example: relevo sweep digits --over stages.ten_class.lr_scale=0.1..10 --search 20

    Parameters
    ----------
    over
        A key of the recipe and the values to try, PATH=V1,V2; repeatable: every combination is trained.
        With --search also a range: 0.1..10 of any numbers, 1..8 of whole ones, by magnitude if both ends are
        above 0 and one is 10 times the other or more.
    seeds
        Number of trainings of each combination, with consecutive seeds.
    folds
        Parts for cross-validation over train and validation; by default the recipe's own split.
    search
        Number of combinations to pick, by how earlier ones did (Optuna); hopeless ones are stopped early.
    stage
        The stage whose validation accuracy decides; by default the last one whose settings are varied.
    dispatch
        Train in this process, or send each training to workers of the Prefect server at PREFECT_API_URL.
    at_once
        How many of them are under way at the same time, with --dispatch workers; 10 by default.
    lang
        Language of the page and the report: English or Spanish.
    """
    from flows.parameters import RunRequest, recipe_parameters
    from flows.sweeps.sweep_plan import AT_ONCE, plan_sweep
    from tasks.sweeps.grid import MAX_RUNS, Variation
    from tasks.vision.recipe.data import MAX_FOLDS

    for option, given, least, most in (
        ("seeds", seeds, 1, MAX_RUNS),
        ("folds", folds, 2, MAX_FOLDS),
        ("search", search, 1, MAX_RUNS),
        ("at-once", at_once, 1, MAX_RUNS),
    ):
        if given is not None and not least <= given <= most:
            raise BadInput(f"--{option} {given}: expected {least} to {most:,}")
    if at_once is not None and dispatch == "inline":
        raise BadInput(
            "--at-once has no effect in one process, which trains one after the other; add --dispatch workers"
        )
    address, settings = store_address(store), all_settings(set_, seed)
    variations = [Variation.parse(each) for each in over or []]
    named = recipe_parameters(recipe)
    request = RunRequest(
        named.get("recipe", "digits"),
        address,
        own_recipe=named.get("own_recipe"),
        data=data,
        stages=(stage,) if stage else (),
        settings=settings,
    )
    plan = plan_sweep(request, variations, seeds, folds, search)
    check_device(plan.first, dispatch)
    find_data(request.source)
    check_results_store(address)
    with running_flow(dispatch):
        from flows.sweep import sweep as flow

        summary = flow(
            over=variations,
            **named,
            data=data,
            store=address,
            stage=stage,
            seeds=seeds,
            folds=folds,
            search=search,
            settings=settings,
            dispatch=dispatch,
            at_once=at_once or AT_ONCE,
            lang=lang,
        )
    if as_json:
        print(summary.to_json())
    else:
        print_sweep(summary)
    return 0
