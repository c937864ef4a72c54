"""`relevo` and `python -m flows`: Ctrl-C ends them in a line, even while the rest is being imported."""

from __future__ import annotations

import os

try:
    import signal
    from types import FrameType
except KeyboardInterrupt:
    raise SystemExit(130) from None


def _stop(number: int, frame: FrameType | None) -> None:
    # Nothing has begun yet; an exception could be raised anywhere in what is being imported.
    os.write(2, b"relevo: stopped\n")
    os._exit(128 + number)


def main() -> None:
    """Run the command line and exit with its status."""
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # a shell's & ignores it
    if usual:
        signal.signal(signal.SIGINT, _stop)
    from flows.cli.app import main as run

    if usual:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


if __name__ == "__main__":
    main()
