"""What another version of relevo has dispatched is refused in one line that names both."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from prefect import Flow
from support.command import ROOT

from flows.parameters import StageInputs
from flows.same_version import EARLIER
from flows.sweep_run import SweepInputs, sweep_run
from flows.train_stage import train_stage
from tasks.cache.code import own_version, sources_digest
from tasks.store.base import Ref

DATA = Ref(kind="dataset", uri="x", size=1, sha256="0" * 64, digest="0" * 64)


def test_version_has_a_digest_of_what_a_stage_may_read(tmp_path: Path) -> None:
    for room in ("flows", "tasks"):
        shutil.copytree(ROOT / room, tmp_path / room)
    now = sources_digest(ROOT)
    assert sources_digest(tmp_path) == now
    assert re.fullmatch(rf"\d+\.\d+\.\d+, code {now[:8]}", own_version())
    (tmp_path / "flows/recipes/README.md").write_text("other words")
    module = tmp_path / "tasks/train.py"
    module.write_bytes(module.read_bytes().replace(b"\n", b"\r\n"))
    assert sources_digest(tmp_path) == now, "a document, and the line ends of Windows"
    for name in ("tasks/train.py", "flows/recipes/digits.toml"):
        (tmp_path / name).write_text(f"{(ROOT / name).read_text()}# edited\n")
        assert sources_digest(tmp_path) != now
        shutil.copyfile(ROOT / name, tmp_path / name)


@pytest.mark.parametrize(
    ("flow", "inputs"),
    [(train_stage, StageInputs(dataset=DATA)), (sweep_run, SweepInputs(dataset=DATA))],
    ids=["stage", "run of a sweep"],
)
@pytest.mark.parametrize(
    ("sent", "named"),
    [
        ({"version": "9.9.9, code 01234567"}, "9.9.9, code 01234567"),
        ({"version": "9.9.9, code 01234567", "unknown": 1}, "9.9.9, code 01234567"),
        ({}, EARLIER),
    ],
    ids=["another", "another with a new parameter", "before there was a check"],
)
def test_run_of_another_version_is_refused_in_one_line(
    flow: Flow[..., Any],
    inputs: StageInputs | SweepInputs,
    sent: dict[str, object],
    named: str,
    server: str,
) -> None:
    content = inputs.model_dump(mode="json", exclude={"version"})
    parameters = {"stage": "baseline", "inputs": {**content, **sent}}

    state = flow(**parameters, return_state=True)

    assert state is not None
    assert state.is_failed()
    message = str(state.message)
    assert "\n" not in message
    assert f"this worker has relevo {own_version()}, but the run that dispatched" in message
    assert f" has {named}; install one version everywhere" in message


def test_run_of_this_version_is_taken() -> None:
    inputs = StageInputs(dataset=DATA).model_dump(mode="json")
    taken = train_stage.validate_parameters({"stage": "baseline", "inputs": inputs})
    assert taken["inputs"] == StageInputs(dataset=DATA)
