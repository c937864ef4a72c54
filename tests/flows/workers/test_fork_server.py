"""A flow run forked from a process with all imports: what the worker sees is as if it had started it itself."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from support.command import ROOT

CLIENT = ROOT / "flows/workers/fork_client.py"
# In place of Prefect's engine, which the fork runs: it does what its environment says.
ENGINE = "import os; exec(os.environ['DOES'])"
SLEEPS = "import time; print(os.getpid(), flush=True); time.sleep(60)"


class Server:
    """A fork server, and the flow runs that are started by it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.socket = folder, folder / "socket"
        (folder / "prefect").mkdir()
        (folder / "prefect/__init__.py").touch()
        (folder / "prefect/engine.py").write_text(ENGINE)
        (folder / "runs").mkdir()
        self.environment = {**os.environ, "PYTHONPATH": f"{folder}:{ROOT}"}
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.socket))
            listener.listen()
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flows.workers.fork_server", str(listener.fileno()), "-"],
                stdin=subprocess.PIPE,
                pass_fds=[listener.fileno()],
                env=self.environment,
            )

    def run(self, does: str) -> subprocess.Popen[str]:
        """Start a run as the worker does."""
        return subprocess.Popen(
            [sys.executable, "-I", CLIENT, self.socket],
            cwd=self.folder / "runs",
            env={**self.environment, "DOES": does},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    started = Server(tmp_path)
    yield started
    started.process.kill()
    started.process.wait()


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def pid_of(run: subprocess.Popen[str]) -> int:
    assert run.stdout
    return int(run.stdout.readline())


def test_run_has_its_environment_folder_and_streams(server: Server) -> None:
    run = server.run("import sys; print(os.getcwd(), os.getppid()); sys.exit('a reason')")

    out, err = run.communicate(timeout=20)

    assert out.split() == [str(server.folder / "runs"), str(server.process.pid)]
    assert (run.returncode, err) == (1, "a reason\n")


def test_traceback_and_status_of_a_run_that_fails(server: Server) -> None:
    run = server.run("1 / 0")

    _, err = run.communicate(timeout=20)

    assert (run.returncode, err.splitlines()[-1]) == (1, "ZeroDivisionError: division by zero")


def test_run_ends_after_its_threads_and_what_is_registered_for_exit(server: Server) -> None:
    late = "import atexit, threading, time; atexit.register(print, 'exit')\n"
    late += "def work(): time.sleep(0.2); print('thread')\nthreading.Thread(target=work).start()"
    run = server.run(late)

    assert run.communicate(timeout=20)[0] == "thread\nexit\n"
    assert run.returncode == 0


def test_runs_side_by_side_have_nothing_of_each_other(server: Server) -> None:
    first = server.run(
        "import builtins; builtins.left = 1; os.environ['LEFT'] = '1'" + f"\n{SLEEPS}"
    )
    pid_of(first)

    second = server.run("import builtins; print(hasattr(builtins, 'left'), 'LEFT' in os.environ)")

    assert second.communicate(timeout=20)[0] == "False False\n"
    first.kill()
    first.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_reaches_the_run(server: Server, number: signal.Signals) -> None:
    handler = f"import signal, sys; signal.signal({number}, lambda *_: sys.exit(7))\n"
    run = server.run(handler + SLEEPS)
    pid_of(run)

    run.send_signal(number)

    run.communicate(timeout=20)
    assert run.returncode == 7


def test_run_ended_by_a_signal_ends_so_for_the_worker(server: Server) -> None:
    run = server.run("os.kill(os.getpid(), 9)")

    run.communicate(timeout=20)

    assert run.returncode == -signal.SIGKILL


def test_killed_client_takes_its_run_along(server: Server) -> None:
    run, other = server.run(SLEEPS), server.run(SLEEPS)
    pids = pid_of(run), pid_of(other)

    run.kill()

    until(lambda: not psutil.pid_exists(pids[0]))
    assert psutil.pid_exists(pids[1])
    other.kill()
    for each in (run, other):
        each.communicate()


def test_killed_server_takes_runs_along(server: Server) -> None:
    run = server.run(SLEEPS)
    pid = pid_of(run)

    server.process.kill()

    run.communicate(timeout=20)
    assert run.returncode == -signal.SIGKILL
    until(lambda: not _runs(pid))


def _runs(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


def test_server_ends_after_the_worker_and_the_last_run(server: Server) -> None:
    run = server.run("import time; print(1, flush=True); time.sleep(1)")
    pid_of(run)
    assert server.process.stdin

    server.process.stdin.close()

    run.communicate(timeout=20)
    assert run.returncode == 0
    assert server.process.wait(20) == 0


def test_without_a_server_the_run_starts_by_itself(server: Server) -> None:
    server.process.kill()
    server.process.wait()
    run = server.run("print('by itself')")

    assert run.communicate(timeout=20)[0] == "by itself\n"


def test_something_else_at_the_socket_disturbs_nothing(server: Server) -> None:
    with socket.socket(socket.AF_UNIX) as stranger, suppress(ConnectionResetError):
        stranger.connect(str(server.socket))
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert stranger.recv(8) == b""
    run = server.run("print('well')")

    assert run.communicate(timeout=20)[0] == "well\n"
