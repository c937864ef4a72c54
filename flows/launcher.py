"""Start `relevo` with its own modules and libraries, whatever lies in the working folder or on PYTHONPATH.

Installed as `relevo.launcher`, since other projects have a `flows` or `tasks`, too. As a script it runs another
module, such as `prefect`, in the same way.
"""

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import FrameType, ModuleType

HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 (early)
OWN = ("flows", "tasks")


class _OwnModules:
    """A finder of `flows` and `tasks` beside this file, in a checkout or among installed packages."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [HOME]) if name in OWN else None


def find_own_modules() -> None:
    """Take the working folder off `sys.path`, and let what is installed precede PYTHONPATH."""
    sys.meta_path.insert(0, _OwnModules)
    library = os.path.dirname(os.__file__)  # noqa: PTH120
    count = sys.path.index(library) if library in sys.path else 0
    try:
        here = os.getcwd()  # noqa: PTH109
    except OSError:  # it was removed
        here = ""
    added = [each for each in sys.path[:count] if each and os.path.abspath(each) != here]  # noqa: PTH100
    sys.path[:] = [*sys.path[count:], *added]
    os.environ["PYTHONSAFEPATH"] = "1"  # for processes that this one starts


def _stop(number: int, frame: FrameType | None) -> None:
    # No exception: it would be raised somewhere inside an import.
    os.write(2, b"relevo: stopped\n")
    os._exit(128 + number)


def main() -> None:
    """Run the command line and exit with its status; Ctrl-C ends it with one line, even during imports."""
    find_own_modules()
    try:
        import signal
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    # Else ignored, as by a shell's &.
    default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if default:
        signal.signal(signal.SIGINT, _stop)
    from flows.cli.environment import set_up_process

    set_up_process()
    from flows.cli.app import main as run

    if default:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


if __name__ == "__main__":
    find_own_modules()
    from runpy import run_module

    del sys.argv[0]
    run_module(sys.argv[0], run_name="__main__", alter_sys=True)
