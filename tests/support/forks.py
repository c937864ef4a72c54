"""Run commands as forks of a process that has imported their libraries.

Importing takes most of a short command's time, and seconds of a training's.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile

from support.command import ROOT, Outcome, run_in_new_python

SCRIPT = Path(__file__).with_name("preloaded.py")
# Variables that Python reads when it starts, or a library when it is imported.
READ_EARLY = ("PYTHON", "LANG", "LC_", "TF_", "KERAS_", "XLA_", "OMP_", "OPENBLAS_", "MPL")


def early(environment: dict[str, str]) -> dict[str, str]:
    """The variables that are read before a fork."""
    return {name: value for name, value in environment.items() if name.startswith(READ_EARLY)}


class Forks:
    """Runs commands, each in a process of its own; several threads may do so at the same time.

    Where variables differ that are read before a fork, a command gets a new interpreter.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self._early = early(environment)
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-W", "ignore", SCRIPT, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                cwd=ROOT,
                env=environment,
            )

    def run(self, words: Sequence[str], cwd: Path, environment: dict[str, str]) -> Outcome:
        """Run `relevo` with these words and this environment, and wait for its end."""
        if early(environment) != self._early:
            return run_in_new_python(words, environment, cwd)
        request = json.dumps([words, str(cwd), environment]).encode()
        reading, writing = os.pipe()
        with TemporaryFile("w+") as out, TemporaryFile("w+") as err:
            files = [out.fileno(), err.fileno(), writing]
            socket.send_fds(self._control, [request], files)
            os.close(writing)
            status = os.read(reading, 16)
            os.close(reading)
            assert status, "the process that forks has died"
            out.seek(0)
            err.seek(0)
            return Outcome(int(status), out.read(), err.read())

    def stop(self) -> None:
        """End the process; commands that still run go on."""
        self._control.close()
        self._process.wait(60)
