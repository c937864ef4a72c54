"""Entry point of `relevo` and `python -m flows`: Ctrl-C ends it with one line, even during imports."""

from __future__ import annotations

import os

try:
    import signal
    from types import FrameType
except KeyboardInterrupt:
    raise SystemExit(130) from None


def _stop(number: int, frame: FrameType | None) -> None:
    # No exception: it would be raised somewhere inside an import.
    os.write(2, b"relevo: stopped\n")
    os._exit(128 + number)


def main() -> None:
    """Run the command line and exit with its status."""
    default = (
        signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )  # else ignored, as by a shell's &
    if default:
        signal.signal(signal.SIGINT, _stop)
    from flows.cli.app import main as run

    if default:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


if __name__ == "__main__":
    main()
