"""A fleet whose server uses SQLite, Prefect's default database."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.fleet import SETTINGS, Fleet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]


def test_fleet_on_sqlite_deploys_and_runs_a_stage(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    try:
        done = fleet.relevo("deploy")
        assert done.returncode == 0, done.stderr
        assert len(fleet.find("deployments")) == 12
        fleet.start_machine("a")
        run = fleet.order(
            "experiment/on-demand",
            settings=SETTINGS,
            stages=["baseline"],
            dispatch="workers",
            run="first",
        )
        fleet.finish(run)
        assert fleet.summary("first")["stages"]["baseline"]["state"] == "trained"
    finally:
        fleet.stop()
