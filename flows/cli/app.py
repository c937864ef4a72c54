"""The command line `relevo`: parse arguments, call a flow, print the result."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import warnings
from importlib.metadata import version
from types import FrameType
from typing import Literal

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
from flows.cli.progress_bar import ProgressDisplay
from flows.cli.runs import compare, runs, show
from flows.cli.store import gc, verify
from flows.cli.sweep import sweep
from flows.cli.tables import Output, print_run
from tasks.io.locations import store_address
from tasks.progress import Event, duration
from tasks.store.addresses import without_secrets
from tasks.store.base import StoreError
from tasks.store.marker import check_store
from tasks.store.opening import open_store
from tasks.vision.errors import BadInput
from tasks.vision.text import printable

app = App(
    name="relevo",
    help="Train chains of image classifiers and measure what transfer learning is worth.\n\n"
    "Example: relevo run digits",
    version=lambda: version("relevo"),
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(converter=strict),
)
app.register_install_completion_command(help="Install shell completion of commands and options.")


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
    """Train the stages of a recipe that are not cached, and write the report.

    Example: relevo run cifar10 --data photos.zip --set stages.baseline.epochs=3

    Parameters
    ----------
    refresh
        Recompute everything, ignoring the cache.
    dispatch
        Train in this process, or send each stage to workers of the Prefect server at PREFECT_API_URL.
    lang
        Language of the report: English or Spanish.
    """
    from flows.cli.prefect_server import quiet_prefect
    from flows.recipes.load import check_recipe

    address, settings = store_address(store), all_settings(set_, seed)
    checked = check_recipe(recipe, data, stage, settings, address)
    if checked.require_gpu and dispatch == "inline":
        from tasks.vision.device import require_gpu

        require_gpu()
    opened = open_store(address)
    opened.check()
    check_store(opened)
    display = ProgressDisplay()
    own = dispatch == "inline"
    with quiet_prefect(own_server=own, say=lambda line: display(Event("prefect", line))), display:
        from flows.experiment import experiment
        from flows.parameters import recipe_parameters
        from tasks.progress import listening

        with listening(display):
            summary = experiment(
                **recipe_parameters(recipe),
                data=data,
                store=address,
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
    """Show what a run would train, what is cached, and why; train nothing.

    Example: relevo plan cifar10 --data photos.zip --set stages.baseline.epochs=3

    Parameters
    ----------
    refresh
        Plan for `relevo run --refresh`, which ignores the cache.
    """
    from flows.recipes.load import check_recipe
    from tasks.runs.plan import plan_steps
    from tasks.runs.starts import other_fits

    address = store_address(store)
    checked = check_recipe(recipe, data, stage, all_settings(set_, seed), address)
    for note in other_fits(checked):
        print(note, file=sys.stderr)
    steps = list(plan_steps(checked, data, address, stage or [], refresh=refresh))
    known = [step.seconds for step in steps if step.seconds is not None]
    if as_json:
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


COMMANDS = (
    run,
    plan,
    sweep,
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
)
RESUMABLE = (["run"], ["sweep"])
for command in COMMANDS:
    app.command(command)


class Terminated(BaseException):
    """SIGTERM as an exception, so that a run can write its checkpoint."""


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 bad input, 128+signal when stopped."""
    signal.signal(signal.SIGTERM, _terminate)
    warnings.simplefilter("ignore")
    sys.exit(status_of(sys.argv[1:]))


def status_of(arguments: list[str]) -> int:
    """Run one command and return its exit status; errors are printed in a line."""
    try:
        result = app(
            arguments,
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
        # Only training has checkpoints.
        then = "; the same command resumes from here" if arguments[:1] in RESUMABLE else ""
        print(f"relevo: stopped{then}", file=sys.stderr)
        return 128 + (signal.SIGINT if isinstance(stop, KeyboardInterrupt) else signal.SIGTERM)
    except BrokenPipeError:  # the reader of the output has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except BaseException as error:
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            return _refuse(f"{error.filename!r} is too long a name for a file; give a shorter one")
        if isinstance(error, SystemExit | GeneratorExit) or os.environ.get("RELEVO_TRACEBACK"):
            raise
        line = " ".join(str(error).split()) or type(error).__name__
        print(printable(f"relevo: the run failed: {without_secrets(line)}"), file=sys.stderr)
        print("set RELEVO_TRACEBACK=1 for a traceback", file=sys.stderr)
        return 1


def _refuse(line: str) -> int:
    # The line may quote an address with a password.
    print(printable(f"relevo: {without_secrets(line)}"), file=sys.stderr)
    return 2
