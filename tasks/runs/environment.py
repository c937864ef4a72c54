"""A run's environment as text: versions of all packages and of Python, machine, seed."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib import metadata

from tasks.vision.device import find_device

PROJECT = "relevo"


def describe(recipe: str, seed: int, devices: Sequence[str]) -> str:
    """Return a requirements file with the rest in comments above, without paths and host names.

    Args:
        devices: what the stages were trained on, possibly on other machines.
    """
    versions = installed()
    python = f"Python {platform.python_version()} ({platform.python_implementation()})"
    comments = [
        f"recipe {recipe}, seed {seed}",
        f"{PROJECT} {versions.pop(PROJECT, 'unknown')}, {python}, {platform.platform()}",
        f"this machine: {find_device()}{_memory()}",
        *(f"trained on: {device}" for device in devices),
    ]
    lines = [*(f"# {line}" for line in comments)]
    lines += [f"{name}=={version}" for name, version in versions.items()]
    return "\n".join(lines) + "\n"


def installed() -> dict[str, str]:
    """Return the version of each installed package, in the order of `pip freeze`."""
    found: dict[str, str] = {}
    for each in metadata.distributions():
        about = each.metadata
        if about["Name"] and about["Version"]:
            found.setdefault(about["Name"], about["Version"])  # the first on the path is imported
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def _memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not available on this system
        return ""
    return f", {size / 2**30:.0f} GiB of memory"
