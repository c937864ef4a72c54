"""One story on a real server and real workers, told in order: each test stands on the ones before it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import ROOT
from fleet import SETTINGS, Fleet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

STAGES = ["transfer", "ten_class"]
NODES = {
    "train baseline",
    "train transfer",
    "train transfer, scratch",
    "train transfer, random",
    "train ten_class",
}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path_factory.mktemp("fleet"))
    try:
        fleet.start_machine("a")
        fleet.start_machine("b")
        yield fleet
    finally:
        fleet.stop()


def small(**more: Any) -> dict[str, Any]:
    return {"recipe": "digits", "settings": SETTINGS, "dispatch": "workers", **more}


def test_deploying_again_doubles_nothing(fleet: Fleet) -> None:
    for _ in range(2):
        done = fleet.relevo("deploy", "--gpus", "2", "--notify", "http://127.0.0.1:9/hook")
        assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    names = [each["name"] for each in fleet.find("deployments")]
    assert sorted(names) == ["automatic", "nightly", *["on-demand"] * 3, "weekly", "worker"]
    assert sorted(pool["name"] for pool in fleet.find("work_pools")) == ["relevo-cpu", "relevo-gpu"]
    made = sorted(each["name"] for each in fleet.find("automations"))
    assert made == [f"relevo-{n}" for n in ("crashed", "dead", "failed", "late", "resume")]
    schedules = [s for each in fleet.find("deployments") for s in each["schedules"]]
    assert len(schedules) == 2
    fleet.prefect("deploy", "--all", "--prefect-file", str(ROOT / "deployments/prefect.yaml"))
    assert len(fleet.find("deployments")) == 7


def test_a_chain_is_trained_by_both_workers(fleet: Fleet) -> None:
    run = fleet.order("experiment/on-demand", **small(stages=STAGES, run="first"))
    fleet.finish(run)
    stages = fleet.stages_of(run)
    assert set(stages) == NODES
    takers = {name: fleet.worker_of(stage["id"]) for name, stage in stages.items()}
    assert set().union(*takers.values()) == {"a-gpu", "b-gpu"}, takers
    summary = fleet.summary("first")
    assert {stage["state"] for stage in summary["stages"].values()} == {"trained"}
    assert set(summary["stages"]["transfer"]["controls"]) == {"scratch", "random"}
    keys = {each["key"] for each in fleet.find("artifacts")}
    assert {"relevo-run", "relevo-stages"} <= keys


def test_on_another_machine_all_of_it_is_cached(fleet: Fleet) -> None:
    fleet.kill_machine("a")
    run = fleet.order("experiment/on-demand", **small(stages=STAGES, run="second"))
    fleet.finish(run)
    takers = [fleet.worker_of(stage["id"]) for stage in fleet.stages_of(run).values()]
    assert takers == [{"b-gpu"}] * len(NODES)
    first, second = fleet.summary("first")["stages"], fleet.summary("second")["stages"]
    assert {stage["state"] for stage in second.values()} == {"cached"}
    assert [s["model_digest"] for s in first.values()] == [
        s["model_digest"] for s in second.values()
    ]
    fleet.start_machine("a")


def test_a_schedule_fires_and_one_that_is_removed_does_not(fleet: Fleet, tmp_path: Path) -> None:
    folder = shutil.copytree(ROOT / "deployments", tmp_path / "deployments")
    text = (folder / "prefect.yaml").read_text()
    often = text.replace('- cron: "0 2 * * *"\n        timezone: UTC', "- interval: 5")
    often = often.replace(
        "recipe: cifar10\n      dispatch: workers", "recipe: digits\n      max_epochs: 1"
    )
    (folder / "prefect.yaml").write_text(often)
    assert often.count("interval: 5") == often.count("max_epochs: 1") == 1
    assert fleet.relevo("deploy", "--gpus", "2", "--files", str(folder)).returncode == 0

    def fired(kind: str) -> list[dict[str, Any]]:
        states = {"state": {"type": {"any_": [kind]}}}
        ask = {"flow_runs": states, "deployments": {"name": {"any_": ["nightly"]}}}
        return fleet.find("flow_runs", **ask)

    fleet.until(lambda: fired("COMPLETED"), 300)
    again = fleet.relevo("deploy", "--gpus", "2")
    assert "schedules removed: 1" in again.stdout, again.stdout + again.stderr
    clocks = [
        clock["schedule"]
        for each in fleet.find("deployments")
        for clock in each["schedules"]
        if each["name"] == "nightly"
    ]
    assert [clock.get("cron") for clock in clocks] == ["0 2 * * *"]


LONG = {**SETTINGS, "stages.ten_class.epochs": 150}


def trainer(fleet: Fleet, run: str) -> psutil.Process:
    """The process that trains a run's stage, once it has learnt for some epochs."""
    fleet.until(lambda: "train ten_class" in fleet.stages_of(run), 120)
    stage = fleet.stages_of(run)["train ten_class"]["id"]
    fleet.until(lambda: "all epoch 20/150" in fleet.log_of(stage), 240)
    machine = next(iter(fleet.worker_of(stage)))
    worker = psutil.Process(fleet.workers[machine].pid)
    return next(
        child
        for child in worker.children(recursive=True)
        if child.environ().get("PREFECT__FLOW_RUN_ID") == stage
    )


def test_a_stage_whose_worker_is_killed_goes_on_on_the_other(fleet: Fleet) -> None:
    """A worker is told of heartbeats that stop after 90 s, and the stage's run is scheduled again."""
    run = fleet.order(
        "experiment/on-demand",
        **{**small(stages=["ten_class"], run="killed"), "settings": LONG},
    )
    process = trainer(fleet, run)
    stage = fleet.stages_of(run)["train ten_class"]["id"]
    worker = next(iter(fleet.worker_of(stage)))
    # The machine that trains loses its GPU worker; the run that has sent the stage may live there too.
    victim = fleet.workers.pop(worker)
    family = psutil.Process(victim.pid).children(recursive=True)
    for each in (psutil.Process(victim.pid), *family):
        each.kill()
    assert process in family
    fleet.finish(run, 500)
    other = {"a-gpu": "b-gpu", "b-gpu": "a-gpu"}[worker]
    assert fleet.worker_of(stage) == {worker, other}
    killed = fleet.summary("killed")["stages"]["ten_class"]
    assert killed["state"] == "resumed"
    undisturbed = fleet.relevo(
        *("run", "digits", "--json", "--stage", "ten_class"),
        *("--store", str(fleet.folder / "undisturbed")),
        *(f"--set={path}={value}" for path, value in LONG.items()),
    )
    assert killed["model_digest"] in undisturbed.stdout, undisturbed.stderr


def test_a_cancelled_run_stops_training(fleet: Fleet) -> None:
    run = fleet.order(
        "experiment/on-demand",
        **{**small(stages=["ten_class"], run="cancelled"), "settings": LONG, "seed": 1},
    )
    process = trainer(fleet, run)
    clock = time.monotonic()
    fleet.prefect("flow-run", "cancel", run)
    fleet.until(lambda: not process.is_running(), 60)
    assert time.monotonic() - clock < 30
    fleet.finish(run, 60, state="CANCELLED")
    stage = fleet.stages_of(run)["train ten_class"]["id"]
    fleet.finish(stage, 60, state="CANCELLED")
