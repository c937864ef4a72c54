"""Run commands in forks of this process, which has imported the libraries that most commands need.

A script that `support.forks` starts. Each command is a process of its own and shares nothing with the others;
only its imports are there already. Prefect is imported by each, since it reads the environment then.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import socket
import sys
import threading
from importlib import import_module
from runpy import run_module

LIMIT = 1500  # seconds of one command; eight at once on a slow machine
LIBRARIES = ("boto3", "fastapi", "httpx", "scipy.stats", "sklearn.metrics", "sqlalchemy")
OWN = ("flows.cli.app", "flows.cli.new_recipe", "flows.recipes.load")


def preload() -> None:
    """Import libraries and the command line, as a command would."""
    from tasks.vision.device import loading_tensorflow

    with loading_tensorflow():
        import_module("keras")
    for name in (*LIBRARIES, *OWN):
        import_module(name)
    gc.freeze()  # a fork copies the pages that a collection writes to


def serve(control: socket.socket) -> list[str]:
    """Fork for each request; return its words in the command's process alone."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
    while True:
        request, files, *_ = socket.recv_fds(control, 1 << 20, 3)
        if not request:  # the tests have ended
            os._exit(0)
        if not os.fork():
            break
        for file in files:
            os.close(file)
    control.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    out, err, answer = files
    if command := os.fork():
        signal.signal(signal.SIGALRM, lambda *_: os.kill(command, signal.SIGKILL))
        signal.alarm(LIMIT)
        _, status = os.waitpid(command, 0)
        os.write(answer, str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)
    words, cwd, environment = json.loads(request)
    os.close(answer)
    for number, file in ((1, out), (2, err)):
        os.dup2(file, number)
        os.close(file)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    return list(words)


def run_command() -> None:
    """Run `python -m flows`, and end as it does, but without taking apart modules that are shared."""
    try:
        run_module("flows", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(end.code or 0))


if __name__ == "__main__":
    preload()
    sys.argv[1:] = serve(socket.socket(fileno=int(sys.argv[1])))
    run_command()
