"""Train as one machine of several: what `tasks.machines.process` starts.

Reads an assignment, a line of JSON, from standard input and writes messages to standard output. It ends when
standard input closes.
"""

from __future__ import annotations

import os
import sys
import threading
from traceback import format_exception
from typing import NoReturn

from tasks.io.checkpoints import Checkpoints
from tasks.io.training import train_model
from tasks.machines.messages import ERRORS, Assignment, Message
from tasks.progress import Event, listening
from tasks.store.opening import open_store
from tasks.store.outages import OUTAGE
from tasks.vision.training.state import TrainingInterrupted

# TensorFlow's errors after another machine has gone.
LOST = {"AbortedError", "CancelledError", "DeadlineExceededError", "FailedPreconditionError"}
LOST |= {"InternalError", "MachinesDiffer", "UnavailableError", "UnknownError"}


class Channel:
    """Messages to the process that started this one."""

    def __init__(self) -> None:
        # Libraries print to what is standard output for them.
        self._out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def send(self, message: Message) -> None:
        """Send a message."""
        self._out.write(message.model_dump_json(exclude_defaults=True) + "\n")
        self._out.flush()

    def forward(self, event: Event) -> None:
        """Send an event."""
        self.send(Message(task=event.task, text=event.message, progress=event.detail))


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def main() -> NoReturn:
    """Train; then wait for the end, since the other machines may still need this one."""
    channel = Channel()
    assignment = Assignment.model_validate_json(sys.stdin.readline())
    end = threading.Thread(target=_end_with_parent, daemon=True)
    end.start()
    try:
        with listening(channel.forward):
            store = open_store(assignment.store, retry_for=OUTAGE)
            result = train_model(
                assignment.name,
                assignment.work,
                Checkpoints(store, assignment.key),
                store,
                assignment.cluster,
                on_joined=lambda: channel.send(Message(joined=True)),
            )
        channel.send(Message(trained=True, result=result))
    except TrainingInterrupted:
        text = "another machine was stopped"
        channel.send(Message(error="TrainingInterrupted", text=text, lost=True))
    except Exception as error:
        channel.send(_failure(error))
    end.join()
    os._exit(0)  # TensorFlow would wait for the others


def _failure(error: Exception) -> Message:
    kind = next((name for name, each in ERRORS.items() if isinstance(error, each)), "")
    name = type(error).__name__
    lost = not kind and name in LOST
    text = " ".join(str(error).split())[:1000]
    if lost:
        text = f"another machine has gone ({name}: {text[:200]})"
    trace = "" if kind or lost else "".join(format_exception(error))[-4000:]
    return Message(error=kind or name, text=text, lost=lost, trace=trace)


if __name__ == "__main__":
    main()
