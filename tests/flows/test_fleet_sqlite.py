"""A fleet whose server uses SQLite, Prefect's default database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.fleet import SETTINGS, Fleet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]


def test_fleet_on_sqlite_finishes_what_a_failed_stage_leaves_and_goes_on_from_there(
    tmp_path: Path,
) -> None:
    fleet = Fleet(tmp_path)
    chain: dict[str, Any] = {"stages": ["baseline", "ten_class"], "dispatch": "workers"}
    more_than_there_are = {**SETTINGS, "stages.baseline.devices": 8}
    try:
        done = fleet.relevo("deploy")
        assert done.returncode == 0, done.stderr
        assert len(fleet.find("deployments")) == 13
        fleet.start_machine("a")
        run = fleet.order("experiment/on-demand", settings=more_than_there_are, **chain)
        said = fleet.finish(run, state="FAILED")["state"]["message"]
        assert "stage baseline: devices = 8" in said
        assert said.endswith("start the run again to go on from there")
        again = fleet.order("experiment/on-demand", settings=SETTINGS, run="again", **chain)
        fleet.finish(again)
        states = {name: each["state"] for name, each in fleet.summary("again")["stages"].items()}
        assert states == {"baseline": "trained", "ten_class": "cached"}
    finally:
        fleet.stop()
