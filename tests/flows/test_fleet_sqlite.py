"""A fleet whose server uses SQLite, Prefect's default database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.fleet import SETTINGS, Fleet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path_factory.mktemp("fleet"))
    try:
        done = fleet.relevo("deploy")
        assert done.returncode == 0, done.stderr
        fleet.start_machine("a")
        yield fleet
    finally:
        fleet.stop()


def test_fleet_finishes_what_a_failed_stage_leaves_and_goes_on_from_there(fleet: Fleet) -> None:
    chain: dict[str, Any] = {"stages": ["baseline", "ten_class"], "dispatch": "workers"}
    more_than_there_are = {**SETTINGS, "stages.baseline.devices": 8}
    run = fleet.order("experiment/on-demand", settings=more_than_there_are, **chain)
    said = fleet.finish(run, state="FAILED")["state"]["message"]
    assert "stage baseline: devices = 8" in said
    assert said.endswith("start the run again to go on from there")
    again = fleet.order("experiment/on-demand", settings=SETTINGS, run="again", **chain)
    fleet.finish(again)
    states = {name: each["state"] for name, each in fleet.summary("again")["stages"].items()}
    assert states == {"baseline": "trained", "ten_class": "cached"}
