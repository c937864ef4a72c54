"""The command line `relevo`: parse, call a flow, print."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import warnings
from importlib.metadata import version
from types import FrameType
from typing import Any, Literal

from cyclopts import App, CycloptsError, Parameter

from flows.cli.deploy import deploy
from flows.cli.models import evaluate, export, predict
from flows.cli.new_recipe import new_recipe
from flows.cli.options import (
    DataOption,
    Flag,
    JsonOption,
    RecipeArgument,
    SeedOption,
    SetOption,
    StageOption,
    StoreOption,
    all_settings,
    strict,
)
from flows.cli.progress_bar import Follower
from flows.cli.runs import compare, runs, show
from flows.cli.store import gc, verify
from flows.cli.tables import Output, print_run
from tasks.io.locations import local_data, store_address
from tasks.progress import Event, duration
from tasks.store.addresses import without_secrets
from tasks.store.base import StoreError
from tasks.store.opening import open_store
from tasks.store.own import begin
from tasks.vision.errors import BadInput
from tasks.vision.recipe.recipe import Recipe
from tasks.vision.text import printable

app = App(
    name="relevo",
    help="Train a chain of image classifiers and see what handing knowledge on is worth.\n\n"
    "Example: relevo run digits",
    version=lambda: version("relevo"),
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(converter=strict),
)
app.register_install_completion_command(
    help="Let the shell complete relevo's commands and options."
)


def run(
    recipe: RecipeArgument = "digits",
    *,
    data: DataOption = None,
    store: StoreOption = None,
    stage: StageOption = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    refresh: Flag = False,
    dispatch: Literal["inline", "workers"] = "inline",
    lang: Literal["en", "es"] = "en",
    as_json: JsonOption = False,
) -> int:
    """Train the stages of a recipe, or take them from the cache, and write the report.

    Example: relevo run cifar10 --data photos.zip --set stages.baseline.epochs=3

    Parameters
    ----------
    refresh
        Compute everything anew, whatever the cache holds.
    dispatch
        Train here, or send every stage to the workers of the server that PREFECT_API_URL names.
    lang
        The report's language: English or Spanish.
    """
    from flows.cli.prefect_server import quiet_prefect

    where, settings = store_address(store), all_settings(set_, seed)
    asked = _check(recipe, data, stage, settings)
    if asked.require_gpu and dispatch == "inline":
        from tasks.vision.device import require_gpu

        require_gpu()
    home = open_store(where)
    home.check()
    begin(home)
    follower, begins = Follower(), Event("prefect", "starting")
    with (
        quiet_prefect(own_server=dispatch == "inline", starting=lambda: follower(begins)),
        follower,
    ):
        from flows.experiment import experiment
        from flows.parameters import recipe_parameters
        from tasks.progress import listening

        with listening(follower):
            summary = experiment(
                **recipe_parameters(recipe),
                data=data,
                store=where,
                stages=stage,
                settings=settings,
                refresh=refresh,
                dispatch=dispatch,
                lang=lang,
            )
    if as_json:
        print(summary.model_dump_json(exclude={"started", "seed", "lineage", "flow_run"}))
    else:
        print_run(summary)
    return 0


def plan(
    recipe: RecipeArgument = "digits",
    *,
    data: DataOption = None,
    store: StoreOption = None,
    stage: StageOption = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    refresh: Flag = False,
    as_json: JsonOption = False,
) -> int:
    """Say what a run would train, what is cached, and why; train nothing.

    Example: relevo plan cifar10 --data photos.zip --set stages.baseline.epochs=3

    Parameters
    ----------
    refresh
        As for run: nothing would be taken from the cache.
    """
    from tasks.cache.plan import plan_steps

    where = store_address(store)
    asked = _check(recipe, data, stage, all_settings(set_, seed))
    steps = list(plan_steps(asked, data, where, stage or [], refresh=refresh))
    known = [step.seconds for step in steps if step.seconds is not None]
    if as_json:
        listed = {
            step.name: {"hit": step.hit, "reason": step.reason, "seconds": step.seconds}
            for step in steps
        }
        print(json.dumps({"recipe": asked.name, "steps": listed, "seconds": sum(known)}))
        return 0
    wide = max(len(step.name) for step in steps)
    for step in steps:
        takes = "" if step.hit or not step.seconds else f", about {duration(step.seconds)}"
        state = "hit " if step.hit else "miss"
        print(printable(f"{step.name:<{wide}}  {state}  {step.reason}{takes}"))
    if all(step.hit for step in steps):
        print("nothing to train")
    elif not any(known):
        print("how long it takes can't be said: nothing like it was trained here before")
    else:
        guess = "" if len(known) == len(steps) else ", and what was never trained here before"
        print(f"about {duration(sum(known))} of training{guess}")
    return 0


def _check(
    recipe: str, data: str | None, stages: list[str] | None, settings: dict[str, Any]
) -> Recipe:
    """Refuse what can be refused before Prefect is imported and its server started."""
    from flows.recipes.load import load_recipe
    from tasks.vision.data.sources import find_source

    asked = load_recipe(recipe, settings)
    asked.ordered(stages or [])
    find_source(local_data(data or asked.data.source))
    return asked


for command in (
    run,
    plan,
    new_recipe,
    runs,
    show,
    compare,
    evaluate,
    predict,
    export,
    verify,
    gc,
    deploy,
):
    app.command(command)


class Terminated(BaseException):
    """SIGTERM, as an exception, so that what runs can end in order."""


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 bad input, 128+signal when stopped."""
    signal.signal(signal.SIGTERM, _terminate)
    warnings.simplefilter("ignore")
    sys.exit(_status(sys.argv[1:]))


def _status(words: list[str]) -> int:
    try:
        result = app(
            words,
            console=Output(),
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except (BadInput, StoreError) as error:
        return _refuse(str(error))
    except CycloptsError as error:
        return _refuse(" ".join(str(error).split()))
    except (KeyboardInterrupt, Terminated) as stop:
        # Only what trains keeps how far it came.
        then = "; the same command goes on from here" if words[:1] == ["run"] else ""
        print(f"relevo: stopped{then}", file=sys.stderr)
        return 128 + (signal.SIGINT if isinstance(stop, KeyboardInterrupt) else signal.SIGTERM)
    except BrokenPipeError:  # whoever read the output has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except BaseException as error:
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            return _refuse(f"{error.filename!r} is too long a name for a file; give a shorter one")
        if isinstance(error, SystemExit | GeneratorExit) or os.environ.get("RELEVO_TRACEBACK"):
            raise
        line = " ".join(str(error).split()) or type(error).__name__
        print(printable(f"relevo: the run failed: {without_secrets(line)}"), file=sys.stderr)
        print("set RELEVO_TRACEBACK=1 to see where", file=sys.stderr)
        return 1


def _refuse(line: str) -> int:
    # Whatever is quoted here may be an address with a password in it.
    print(printable(f"relevo: {without_secrets(line)}"), file=sys.stderr)
    return 2
