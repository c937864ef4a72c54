"""Make this process independent of settings of the machine that were not made for it."""

from __future__ import annotations

import os
import sys

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def set_up_process() -> None:
    """Open closed standard streams, and reach servers on this machine without a proxy."""
    _open_standard_streams()
    _bypass_proxies()


def _open_standard_streams() -> None:
    """Connect standard streams that cron or a daemon has closed to the null device."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115


def _bypass_proxies() -> None:
    """Add this machine to NO_PROXY in both spellings; where they differ, Python reads the lower-case one."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return  # on macOS a NO_PROXY alone would hide the system's proxies
    given = os.environ.get("no_proxy", os.environ.get("NO_PROXY", ""))
    hosts = [each.strip() for each in given.split(",") if each.strip()]
    if "*" not in hosts:
        joined = ",".join(dict.fromkeys([*hosts, *LOOPBACK]))
        os.environ.update(no_proxy=joined, NO_PROXY=joined)
