"""Stand for one flow run: the process that Prefect's worker starts, watches and signals.

    python -I fork_client.py SOCKET

Asks the server at SOCKET for a fork that runs the flow with this process's environment, folder and standard
streams; passes signals on to it, and ends as it ends. If there is no server, it becomes
`python -m prefect.engine`. It imports little, since it starts for each run.
"""

import os
import signal
import socket
import sys

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
STREAMS = (0, 1, 2)
ENGINE = "prefect.engine"
PLAIN = [sys.executable, "-m", ENGINE]


def main() -> None:
    """Run one flow run and exit with its status."""
    signal.pthread_sigmask(
        signal.SIG_BLOCK, PASSED_ON
    )  # until there is a process to pass them on to
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        server.connect(sys.argv[1])
        request = b"\0".join([os.fsencode(os.getcwd()), *_environment()])  # noqa: PTH109
        socket.send_fds(server, [len(request).to_bytes(8, "little")], STREAMS)
        server.sendall(request)
        pid = _number(server)
    except (OSError, EOFError):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
        os.execv(sys.executable, PLAIN)  # nosec B606
    for each in PASSED_ON:
        signal.signal(each, lambda number, frame: os.kill(pid, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    try:
        status = _number(server)
    except (OSError, EOFError):  # the server was killed, and its forks with it
        status = -signal.SIGKILL
    if status < 0:  # ended by a signal, so that Prefect sees which
        signal.signal(-status, signal.SIG_DFL) if -status != signal.SIGKILL else None
        os.kill(os.getpid(), -status)
    os._exit(status)


def _environment() -> list[bytes]:
    return [name + b"=" + value for name, value in os.environb.items()]


def _number(server: socket.socket) -> int:
    """Read 8 bytes as a signed number. Raises EOFError if the server is gone."""
    read = b""
    while len(read) < 8:
        more = server.recv(8 - len(read))
        if not more:
            raise EOFError
        read += more
    return int.from_bytes(read, "little", signed=True)


if __name__ == "__main__":
    main()
