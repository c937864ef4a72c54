"""Run contenders in turns, each in a process of its own, so that a slow minute affects all of them."""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Turn:
    """Wall time of one process in seconds, and the JSON of its last line, if any."""

    seconds: float
    answer: dict[str, Any]


def check(parser: argparse.ArgumentParser, archive: str, *packages: str) -> None:
    """Exit with one line and status 2 if the archive or a package is missing."""
    if not zipfile.is_zipfile(archive):
        parser.error(f"{archive}: expected a zip of train/CLASS/*.png and test/CLASS/*.png")
    for name in packages:
        if not find_spec(name):
            parser.error(f"{name} is not installed; pip install -c constraints.txt -e '.[bench]'")


def ask(command: Sequence[object], **environment: str) -> Turn:
    """Run one process and time it.

    Raises:
        SystemExit: it failed; with the end of its standard error.
    """
    clock = time.monotonic()
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        env={**os.environ, **environment},
        check=False,
    )
    seconds = time.monotonic() - clock
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stderr.decode()[-2000:]}")
    lines = done.stdout.splitlines()
    answer = json.loads(lines[-1]) if lines and lines[-1].startswith(b"{") else {}
    return Turn(seconds, answer)


def child(name: str, *arguments: object) -> list[object]:
    """The command line of a script in this folder."""
    return [sys.executable, Path(__file__).with_name(f"{name}.py"), *arguments]


def interleave(
    contenders: Mapping[str, Sequence[object]], rounds: int, **environment: str
) -> dict[str, list[Turn]]:
    """Run every contender once per round."""
    turns: dict[str, list[Turn]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, command in contenders.items():
            turns[name].append(ask(command, **environment))
    return turns


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Format the median, and in brackets minimum and maximum."""
    low, high = min(values), max(values)
    return f"{median(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def peak_memory() -> float:
    """Peak memory of this process plus that of its largest child, in MiB."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(resource.getrusage(kind).ru_maxrss for kind in kinds) / 1024


def show(table: Table, width: int = 100) -> None:
    """Print a table with the same width on every terminal."""
    Console(width=width).print(table)
