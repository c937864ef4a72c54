"""Checkpoints of a training on several machines: the first one writes them, and all stop at the same step."""

from __future__ import annotations

from tasks.vision.network.distribution import sum_over_machines, this_machine
from tasks.vision.training.state import Checkpointer, Snapshot


class MachinesDiffer(ConnectionError):
    """The machines have not read the same checkpoint, which one may have read before it was whole."""


class Together:
    """A machine's checkpointer, made in the scope of the strategy of all; they call it in the same order."""

    def __init__(self, own: Checkpointer) -> None:
        self._own, (self._index, self._machines) = own, this_machine()

    def load(self) -> Snapshot | None:
        """As of the machine's own.

        Raises:
            MachinesDiffer: others have loaded another snapshot.
        """
        snapshot = self._own.load()
        count = float(snapshot.values["count"]) if snapshot else 0.0
        total, squares = sum_over_machines(count, count**2)
        if total**2 != self._machines * squares:  # equal only for equal counts
            raise MachinesDiffer(f"checkpoint {count:.0f} is not that of the other machines")
        return snapshot

    def due(self) -> bool:
        """As of the machine's own."""
        return self._own.due()

    def save(self, snapshot: Snapshot) -> None:
        """Save on the first machine."""
        if self._index == 0:
            self._own.save(snapshot)

    def asked(self) -> bool:
        """As of the machine's own."""
        return self._own.asked()

    def stop(self) -> bool:
        """True on all machines if one should stop."""
        (stopped,) = sum_over_machines(self._own.asked())
        return stopped > 0

    def wait(self) -> None:
        """As of the machine's own."""
        self._own.wait()
