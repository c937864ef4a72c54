"""A process that has imported Prefect and all that flows need, and forks itself for each flow run.

    python -m flows.workers.fork_server SOCKET METRICS [MODULE...]

SOCKET is the number of an open one that listens already, METRICS that of the pipe to which runs report
(`measured`), or -.

A fork takes milliseconds, while Python, Prefect and TensorFlow take seconds to start. TensorFlow is imported
but not used here, so each fork has a runtime of its own, whose GPU memory is free when it ends, and a crash
takes one run alone. Linux only: forking is not safe with the system libraries of macOS.

Protocol, of one connection per flow run: the client sends 8 bytes (length), with them its standard streams,
then folder and environment; it receives the fork's process id and, at its end, its exit status, negative for
a signal, as 8 bytes each. A connection that closes earlier is that of a client that was killed: the fork is
killed.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import os
import runpy
import selectors
import signal
import socket
import sys
import threading
from contextlib import nullcontext, suppress
from dataclasses import dataclass

from flows.workers.fork_client import ENGINE
from flows.workers.measured import reporting
from tasks.cache.code import own_version
from tasks.vision.device import loading_tensorflow
from tasks.vision.figures.defaults import matplotlib_defaults

RUN = "PREFECT__FLOW_RUN_ID"  # the variable that names the flow run
MAX_REQUEST = 16 << 20  # bytes; a Linux process starts with less
REQUEST_TIMEOUT = 10.0  # seconds
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Request:
    """What a flow run starts with: environment, folder, and file descriptors of its standard streams."""

    folder: str
    environment: dict[str, str]
    streams: tuple[int, ...]


class ForkServer:
    """Forks for clients of one socket until its standard input closes and the last fork has ended."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._clients: dict[int, socket.socket] = {}  # by the process id of their forks
        self._selector = selectors.DefaultSelector()
        self._ended, written = os.pipe()  # a byte for each child that has ended
        os.set_blocking(written, False)
        signal.set_wakeup_fd(written, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)

    def serve(self) -> Request | None:
        """Return in each fork what it has to run, and None in the server when it may end."""
        for readable in (self._listener, self._ended, sys.stdin):
            self._selector.register(readable, selectors.EVENT_READ)
        worker_runs = True
        while worker_runs or self._clients:
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    if request := self._accept():
                        return request
                elif key.fileobj == self._ended:
                    os.read(self._ended, 1024)
                    self._reap()
                elif key.fileobj is sys.stdin:
                    worker_runs = False
                    self._selector.unregister(sys.stdin)
                else:
                    self._kill_fork_of(key.fileobj)
        return None

    def _accept(self) -> Request | None:
        """Fork for a client; return its request in the fork, else None."""
        client, _ = self._listener.accept()
        try:
            client.settimeout(REQUEST_TIMEOUT)
            request = receive(client)
        except (OSError, ValueError):
            client.close()
            return None
        server, pid = os.getpid(), os.fork()
        if pid == 0:
            self._leave(server, client)
            return request
        for each in request.streams:
            os.close(each)
        self._clients[pid] = client
        self._selector.register(client, selectors.EVENT_READ)
        _send(client, pid)
        return None

    def _leave(self, server: int, client: socket.socket) -> None:
        """In a fork: end when the server is killed, and close what is the server's."""
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != server:
            os._exit(1)  # it was killed before
        os.close(signal.set_wakeup_fd(-1))
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._selector.close()
        for each in (self._listener, client, *self._clients.values()):
            each.close()
        os.close(self._ended)

    def _reap(self) -> None:
        """Send the clients of forks that have ended their exit status."""
        while self._clients:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            if client := self._clients.pop(pid, None):
                self._selector.unregister(client)
                _send(client, os.waitstatus_to_exitcode(status))
                client.close()

    def _kill_fork_of(self, client: object) -> None:
        pid = next(pid for pid, each in self._clients.items() if each is client)
        self._selector.unregister(self._clients[pid])
        self._clients[pid].close()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        del self._clients[pid]


def receive(client: socket.socket) -> Request:
    """Read a request.

    Raises:
        ValueError: it is no request. OSError: the client has gone, or is too slow.
    """
    start, streams, _, _ = socket.recv_fds(client, 8, 3)
    length = int.from_bytes(start, "little")
    content = bytearray()
    try:
        if len(start) != 8 or len(streams) != 3 or length > MAX_REQUEST:
            raise ValueError("no request")
        while len(content) < length:
            more = client.recv(length - len(content))
            if not more:
                raise ValueError("cut short")
            content += more
    except (OSError, ValueError):
        for each in streams:
            os.close(each)
        raise
    folder, *variables = os.fsdecode(bytes(content)).split("\0")
    pairs = [each.partition("=") for each in variables]
    return Request(folder, {name: value for name, _, value in pairs}, tuple(streams))


def _send(client: socket.socket, number: int) -> None:
    with suppress(OSError):  # a client that was killed; its connection is closed, too
        client.sendall(number.to_bytes(8, "little", signed=True))


def _take_place(request: Request) -> None:
    """Let this process have the streams, environment and folder of the client."""
    for number, stream in enumerate(request.streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(request.environment)
    os.chdir(request.folder)


def _exit_at_once() -> None:
    """End as Python does, but without taking all modules apart, which takes a while."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def main() -> None:
    """Import what is named, then serve; in a fork, run the flow of its environment."""
    number, metrics, *modules = sys.argv[1:]
    listener = socket.socket(fileno=int(number))
    pipe = None if metrics == "-" else int(metrics)
    own_version()  # what is loaded here, whatever is installed later
    with loading_tensorflow(), matplotlib_defaults() if modules else nullcontext():
        for module in modules:
            importlib.import_module(module)
    gc.freeze()  # a fork would copy the pages that a collection writes to
    if request := ForkServer(listener).serve():
        _take_place(request)
        sys.argv[1:] = []
        sys.modules.pop(ENGINE, None)  # else runpy warns that it is run twice
        run = request.environment.get(RUN, "")
        with nullcontext() if pipe is None else reporting(pipe, run):
            runpy.run_module(ENGINE, run_name="__main__", alter_sys=True)
        _exit_at_once()


if __name__ == "__main__":
    main()
