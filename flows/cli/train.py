"""`relevo run` and `relevo plan`: train a recipe's stages, or say what would be trained."""

from __future__ import annotations

import json
import sys
from typing import Literal

from flows.cli.options import DEFAULTS, RecipeArgument, RunOptions
from flows.cli.printing.tables import print_run
from flows.cli.running_flow import check_device, check_results_store, running_flow
from tasks.io.locations import store_address
from tasks.progress import duration
from tasks.vision.text import printable


def run(
    recipe: RecipeArgument = "digits",
    *,
    options: RunOptions = DEFAULTS,
    dispatch: Literal["inline", "workers"] = "inline",
    lang: Literal["en", "es"] = "en",
) -> int:
    """Train the stages of a recipe that are not cached, and write the report.

    Example: relevo run cifar10 --data photos.zip --set stages.baseline.epochs=3

    Parameters
    ----------
    dispatch
        Train in this process, or send each stage to workers of the Prefect server at PREFECT_API_URL.
    lang
        Language of the report: English or Spanish.
    """
    from flows.recipes.load import check_recipe

    address, settings = store_address(options.store), options.settings
    checked = check_recipe(recipe, options.data, options.stage, settings, address)
    check_device(checked, dispatch)
    check_results_store(address)
    with running_flow(dispatch):
        from flows.experiment import experiment
        from flows.parameters import recipe_parameters

        summary = experiment(
            **recipe_parameters(recipe),
            data=options.data,
            store=address,
            stages=options.stage,
            settings=settings,
            refresh=options.refresh,
            dispatch=dispatch,
            lang=lang,
        )
    if options.as_json:
        print(summary.model_dump_json(exclude={"started", "seed", "lineage", "flow_run"}))
    else:
        print_run(summary)
    return 0


def plan(
    recipe: RecipeArgument = "digits",
    *,
    options: RunOptions = DEFAULTS,
) -> int:
    """Show what a run would train, what is cached, and why; train nothing.

    Example: relevo plan cifar10 --data photos.zip --set stages.baseline.epochs=3
    """
    from flows.recipes.load import check_recipe
    from tasks.runs.plan import plan_steps
    from tasks.runs.starts import other_fits

    address = store_address(options.store)
    checked = check_recipe(recipe, options.data, options.stage, options.settings, address)
    for note in other_fits(checked):
        print(note, file=sys.stderr)
    stages = options.stage or []
    steps = list(plan_steps(checked, options.data, address, stages, refresh=options.refresh))
    known = [step.seconds for step in steps if step.seconds is not None]
    if options.as_json:
        listed = {
            step.name: {"hit": step.hit, "reason": step.reason, "seconds": step.seconds}
            for step in steps
        }
        print(json.dumps({"recipe": checked.name, "steps": listed, "seconds": sum(known)}))
        return 0
    width = max(len(step.name) for step in steps)
    for step in steps:
        estimate = "" if step.hit or not step.seconds else f", about {duration(step.seconds)}"
        state = "hit " if step.hit else "miss"
        print(printable(f"{step.name:<{width}}  {state}  {step.reason}{estimate}"))
    if all(step.hit for step in steps):
        print("nothing to train")
    elif not any(known):
        print("no time estimate: nothing comparable was trained in this store before")
    else:
        rest = "" if len(known) == len(steps) else ", plus steps without an estimate"
        print(f"about {duration(sum(known))} of training{rest}")
    return 0
