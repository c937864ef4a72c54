"""Machines meet over documents in a store, folder or bucket."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.machines import rendezvous
from tasks.machines.rendezvous import Group, MachinesMissing, Rendezvous, own_host
from tasks.store.keys import is_own
from tasks.store.opening import open_store
from tasks.vision.cluster import Cluster


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "POLL", 0.01)


def places(store: Path, machines: int) -> list[Rendezvous]:
    group = str(uuid.uuid4())
    home = open_store(store)
    return [
        Rendezvous(home, Group(id=group, index=index, machines=machines))
        for index in range(machines)
    ]


def joined(clusters: Iterator[Cluster | None]) -> Cluster:
    return next(cluster for cluster in clusters if cluster)


def test_machines_meet_and_meet_again_in_a_new_round(tmp_path: Path) -> None:
    leader, *others = places(tmp_path, 4)
    following = [each.follow() for each in others]
    with ThreadPoolExecutor() as threads:
        before: set[str] = set()
        for _ in range(2):
            led = threads.submit(leader.lead)
            found = list(threads.map(joined, following))
            addresses = led.result().addresses
            assert [cluster.index for cluster in (led.result(), *found)] == [0, 1, 2, 3]
            assert {cluster.addresses for cluster in found} == {addresses}
            assert len({*addresses} | before) == 4 + len(before), "each round has its own ports"
            before |= {*addresses}
        assert all(is_own(key) for key in open_store(tmp_path).keys("machines"))
        leader.close()
        assert [list(each) for each in following] == [[], [], []]


def test_who_is_missing_is_named(tmp_path: Path) -> None:
    leader, second, _, _ = places(tmp_path, 4)
    with ThreadPoolExecutor() as threads:
        led = threads.submit(leader.lead, wait=1.0)
        clusters = second.follow()
        while not led.done():
            assert next(clusters) is None
    with pytest.raises(MachinesMissing, match="machines = 4, and machines 3, 4 did not come"):
        led.result()


def test_a_machine_that_died_in_a_round_waits_for_the_next(tmp_path: Path) -> None:
    leader, other = places(tmp_path, 2)
    with ThreadPoolExecutor() as threads:
        led = threads.submit(leader.lead)
        first = joined(other.follow())
        assert first.addresses == led.result().addresses
        resumed = Rendezvous(other._store, other._group).follow()
        assert [next(resumed) for _ in range(5)] == [None] * 5
        led = threads.submit(leader.lead)
        assert joined(resumed).addresses == led.result().addresses != first.addresses


def test_host_is_given_or_where_the_route_to_the_server_begins() -> None:
    assert own_host("10.1.2.3", "http://prefect:4200/api") == "10.1.2.3"
    assert own_host(None, "http://127.0.0.1:4200/api") == "127.0.0.1"
    assert own_host(None, None) == "127.0.0.1"
    with pytest.raises(socket.gaierror):
        own_host(None, "http://no-such-host.invalid/api")
