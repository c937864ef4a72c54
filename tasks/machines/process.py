"""The process of its own in which a machine trains together with others.

TensorFlow joins a cluster once in a process, and a cluster that loses a machine can't be mended. So each
attempt has a fresh process, and the flow run that started it lives on to try again.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from tasks.io.training import TrainedModel
from tasks.machines.messages import ERRORS, Assignment, Message
from tasks.machines.rendezvous import MachineLost
from tasks.progress import Event, emit
from tasks.vision.text import printable

ROOT = Path(__file__).parents[2]
JOIN_TIMEOUT = 180.0  # seconds in which all must have started TensorFlow
STOP_TIMEOUT = 60.0  # seconds for a last checkpoint


class MemberProcess:
    """A process that trains; it ends with this one, at the latest."""

    def __init__(self, process: subprocess.Popen[str], log: IO[bytes]) -> None:
        self._process, self._log = process, log

    def run(self) -> TrainedModel | None:
        """Pass its progress on until it has trained, and return the model, which the first machine has.

        Raises:
            MachineLost: another machine or the process itself ended. The training's own error.
        """
        late = threading.Timer(JOIN_TIMEOUT, self._process.kill)
        late.daemon = True
        late.start()
        assert self._process.stdout
        try:
            for line in self._process.stdout:
                message = Message.model_validate_json(line)
                if message.joined:
                    late.cancel()
                elif message.error:
                    raise _error(message)
                elif message.trained:
                    return message.result
                else:
                    emit(Event(message.task, message.text, message.progress))
        finally:
            late.cancel()
        raise MachineLost(f"the training process ended, {self._last_line()}")

    def _last_line(self) -> str:
        status = self._process.wait()
        self._log.seek(0)
        lines = [line for line in self._log.read().decode(errors="replace").splitlines() if line]
        return f"status {status}: {printable(lines[-1])[:300] if lines else 'it said nothing'}"


def train_in_process(assignment: Assignment) -> TrainedModel:
    """Train as the first of several machines in a process of its own, and return the model.

    Raises:
        MachineLost: a machine ended; train again once all have met. The training's own error.
    """
    with started(assignment) as member:
        model = member.run()
    assert model  # of the first machine
    return model


@contextmanager
def started(assignment: Assignment) -> Iterator[MemberProcess]:
    """Start the process; in the end it is stopped, after a checkpoint if this is interrupted."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tasks.machines.member"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.PIPE,  # it ends once this closes
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,  # signals reach it from here alone
        )
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(assignment.model_dump_json() + "\n")
            process.stdin.flush()
            yield MemberProcess(process, log)
        except Exception:
            raise
        except BaseException:  # a signal
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT)
            raise
        finally:
            process.kill()
            process.stdin.close()
            process.stdout.close()
            process.wait()


def _error(message: Message) -> Exception:
    if message.lost:
        return MachineLost(message.text)
    if kind := ERRORS.get(message.error):
        return kind(message.text)
    error = RuntimeError(f"{message.error}: {message.text}".removesuffix(": "))
    error.add_note(message.trace)
    return error
