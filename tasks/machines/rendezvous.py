"""How the machines of one training meet, over documents in their store.

The leader, machine 0, opens a round of a random name; the others add their addresses to it, and once all
are there it lists them. A machine that dies ends the round for all: the leader opens the next. No clocks
are compared, and what a dead machine has left in an earlier round counts for nothing.
"""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

from pydantic import Field

from tasks.io.documents import seal, unseal
from tasks.progress import Event, emit
from tasks.store.base import Missing, Store
from tasks.vision.cluster import Cluster
from tasks.vision.recipe.schema import Strict

WAIT = 600.0  # seconds for which the leader waits for the others
POLL = 1.0  # seconds between two looks into the store


class MachinesMissing(TimeoutError):
    """Not all machines of a training have come."""


class MachineLost(ConnectionError):
    """A machine has left the training, which goes on from its last checkpoint once all have met again."""


class Group(Strict):
    """The machines that one stage is sent to.

    Attributes:
        id: a random or derived UUID, the same for all. host: this machine, as the others reach it.
        index: of this machine; 0 leads. machines: how many.
    """

    id: str = Field(pattern="^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
    index: int = Field(ge=0, lt=64)
    machines: int = Field(ge=2, le=64)
    host: str = "127.0.0.1"


class Round(Strict):
    """The round that is open, and whether the training is over."""

    id: str = Field(pattern="^[0-9a-f]{32}$")
    over: bool = False


class Address(Strict):
    """HOST:PORT of one machine."""

    address: str = Field(max_length=300)


class Roster(Strict):
    """The machines of a round, which is then full."""

    addresses: tuple[str, ...] = Field(max_length=64)


class Rendezvous:
    """The place in a store where the machines of a group meet."""

    def __init__(self, store: Store, group: Group) -> None:
        self._store, self._group = store, group
        self._round = ""  # the last that this machine was in

    def lead(self, wait: float = WAIT) -> Cluster:
        """Open a round and return its machines once all have come.

        Raises:
            MachinesMissing: some did not within `wait` seconds; the message names them.
        """
        group, self._round = self._group, uuid.uuid4().hex
        self._clear()
        own = _free_address(group.host)
        self._store.write(self._key("round"), seal(Round(id=self._round)))
        found: dict[int, str] = {0: own}
        end, asked = time.monotonic() + wait, False
        while missing := sorted({*range(group.machines)} - found.keys()):
            for index in missing:
                with suppress(Missing, ValueError):
                    content = self._store.read(self._key(f"{self._round}-{index}"))
                    found[index] = unseal(Address, content).address
            if len(found) == group.machines:
                break
            absent = _listed([index for index in missing if index not in found])
            if time.monotonic() > end:
                raise MachinesMissing(
                    f"machines = {group.machines}, and {absent} did not come within {wait:.0f} s; "
                    "expected as many free workers of the pool (relevo worker --pool ...)"
                )
            if not asked:
                emit(Event("machines", f"waiting for {absent} of {group.machines}"))
                asked = True
            time.sleep(POLL)
        addresses = tuple(found[index] for index in range(group.machines))
        self._store.write(self._key(self._round), seal(Roster(addresses=addresses)))
        return Cluster(addresses, 0)

    def follow(self) -> Iterator[Cluster | None]:
        """Yield the cluster each time that a new round is full, None while waiting; end when all is over."""
        joined = self._round
        while not (found := self._open_round()) or not found.over:
            if found and found.id not in (joined, self._round):
                joined = found.id
                address = Address(address=_free_address(self._group.host))
                # It exists if this machine was in the round before it died.
                if not self._store.create(
                    self._key(f"{joined}-{self._group.index}"), seal(address)
                ):
                    self._round = joined
            if joined != self._round and (roster := self._roster(joined)):
                self._round = joined
                yield Cluster(roster, self._group.index)
            else:
                yield None
                time.sleep(POLL)

    def wait_for_end(self) -> None:
        """Wait until the round that this machine is in has ended."""
        while (found := self._open_round()) and found.id == self._round:
            time.sleep(POLL)

    def close(self) -> None:
        """Let the other machines end: the training is over."""
        self._store.write(self._key("round"), seal(Round(id=uuid.uuid4().hex, over=True)))
        self._clear()

    def _open_round(self) -> Round | None:
        with suppress(Missing, ValueError):
            return unseal(Round, self._store.read(self._key("round")))
        return None

    def _roster(self, name: str) -> tuple[str, ...] | None:
        with suppress(Missing, ValueError):
            return unseal(Roster, self._store.read(self._key(name))).addresses
        return None

    def _clear(self) -> None:
        """Remove what earlier rounds have left."""
        for key in list(self._store.keys(f"machines/{self._group.id}")):
            if key != self._key("round"):
                self._store.delete(key)

    def _key(self, name: str) -> str:
        return f"machines/{self._group.id}/{name}.json"


def own_host(given: str | None, server: str | None) -> str:
    """Return this machine's address, as others reach it: `given`, else where the route to `server` begins.

    Args:
        given: RELEVO_ADDRESS. server: the URL of Prefect's server; None for this machine alone.
    """
    name = urlsplit(server).hostname if server else None
    if given or not name:
        return given or "127.0.0.1"
    family, _, _, _, where = socket.getaddrinfo(name, 9, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(where)  # sends nothing
        return str(probe.getsockname()[0])


def _free_address(host: str) -> str:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return (
            f"[{host}]:{probe.getsockname()[1]}"
            if ":" in host
            else f"{host}:{probe.getsockname()[1]}"
        )


def _listed(indices: list[int]) -> str:
    names = [str(index + 1) for index in indices]
    return f"machine{'s' if len(names) > 1 else ''} {', '.join(names)}"
