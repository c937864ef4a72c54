"""The flow that a worker runs: one stage, or all controls of one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.command import SMALL, Chain

from flows.parameters import StageInputs
from flows.train_stage import train_stage
from tasks.runs.stage_result import StageResult
from tasks.runs.summary import Lineage
from tasks.vision.errors import BadInput


@pytest.mark.usefixtures("server")
def test_a_control_that_fails_is_named_and_stops_no_other(chain: Chain, tmp_path: Path) -> None:
    """Random weights have a head trained, which never takes several devices."""
    store = str(shutil.copytree(chain.store, tmp_path / "store"))
    lineage = next((chain.store / "runs").glob("*/lineage.json")).read_bytes()
    given = (each.removeprefix("--set=").partition("=") for each in SMALL)
    settings = {key: json.loads(value) for key, _, value in given}
    settings |= {"defaults.devices": 8, "seed": 1}

    def train(*controls: str) -> dict[str, StageResult]:
        data = Lineage.model_validate_json(lineage).dataset
        inputs = StageInputs.model_validate({"controls": controls, "dataset": data})
        return train_stage("transfer", store=store, settings=settings, inputs=inputs)

    with pytest.raises(BadInput, match=r"^stage transfer, scratch: devices = 8") as caught:
        train("scratch", "random")
    assert "random" not in str(caught.value)
    assert train("random")["transfer, random"].state == "cached"
