"""The command line `relevo`: parse arguments, call a flow, print the result."""

from __future__ import annotations

import errno
import os
import signal
import sys
import warnings
from importlib.metadata import version
from types import FrameType

from cyclopts import App, CycloptsError, Parameter

from flows.cli.check import check
from flows.cli.fleet.deploy import deploy
from flows.cli.fleet.server import server
from flows.cli.fleet.worker import worker
from flows.cli.models import evaluate, export, predict
from flows.cli.new_recipe import new_recipe
from flows.cli.options import strict
from flows.cli.printing.printer import Output
from flows.cli.promote import aliases, promote
from flows.cli.runs import compare, runs, show
from flows.cli.store import gc, verify
from flows.cli.sweep import sweep
from flows.cli.train import plan, run
from flows.cli.watch import watch
from tasks.store.addresses import without_secrets
from tasks.store.base import StoreError
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


COMMANDS = (
    run,
    plan,
    check,
    sweep,
    watch,
    new_recipe,
    runs,
    show,
    compare,
    evaluate,
    predict,
    export,
    promote,
    aliases,
    verify,
    gc,
    server,
    deploy,
    worker,
)
RESUMABLE = (["run"], ["sweep"])
for command in COMMANDS:
    app.command(command)


class Terminated(BaseException):
    """SIGTERM as an exception, so that a run can write its checkpoint."""


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 bad input, 3 not promoted, 128+signal when stopped."""
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
