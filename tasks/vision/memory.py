"""What a training that may be stopped keeps: everything it needs to go on with the same bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from tasks.vision.model import Tensors


class Stopped(BaseException):
    """Someone asked the training to stop; it can go on from its last snapshot."""


@dataclass
class Snapshot:
    """Arrays by name (weights, statistics, optimizer slots), and small plain values."""

    arrays: Tensors
    values: dict[str, Any]


class Memory(Protocol):
    """Where snapshots are kept, and who says when to stop."""

    def load(self) -> Snapshot | None:
        """The newest whole snapshot, or None."""

    def save(self, snapshot: Snapshot) -> None:
        """Keep this snapshot instead of the one before; may return before the bytes are down."""

    def stop(self) -> bool:
        """Whether the training should save and end now."""

    def wait(self) -> None:
        """Return when everything saved is down."""


def heed(memory: Memory | None) -> None:
    """Raise Stopped where someone asks the training to stop; called every second or two."""
    if memory and memory.stop():
        raise Stopped
