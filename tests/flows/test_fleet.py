"""A fleet of real workers on a real server. The tests run in order; each builds on those before it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
from playwright.sync_api import Locator, Page, expect
from support.command import ROOT
from support.databases import PROGRAMS, postgresql
from support.fleet import SETTINGS, Fleet
from support.prefect_pages import CHROMIUM, photographs, prefect_page

from tasks.cache.code import own_version

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

# True if the page has an artifact's three figures and the browser has rendered them.
ALL_DRAWN = """() => {
    const all = [...document.querySelectorAll("[data-testid=markdown-display] img")];
    return all.length === 3 && all.every(image => image.complete && image.naturalWidth > 300);
}"""
NODES = {"train baseline", "train transfer", "train transfer, controls"}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    # SQLite has one writer at a time.
    with postgresql() if PROGRAMS else nullcontext() as database:
        fleet = Fleet(tmp_path_factory.mktemp("fleet"), database)
        try:
            fleet.start_machine("a")
            fleet.start_worker("b-gpu")  # each start of a worker imports TensorFlow
            yield fleet
        finally:
            fleet.stop()


@pytest.fixture
def page() -> Iterator[Page]:
    with prefect_page() as page:
        yield page


@pytest.fixture
def photograph(page: Page, tmp_path: Path) -> Callable[[str], None]:
    return photographs(page, tmp_path, "fleet")


def small(**more: Any) -> dict[str, Any]:
    return {"recipe": "digits", "settings": SETTINGS, "dispatch": "workers", **more}


def test_deploy_is_idempotent(fleet: Fleet) -> None:
    for _ in range(2):
        done = fleet.relevo("deploy", "--gpus", "2", "--notify", "http://127.0.0.1:9/hook")
        assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    names = [each["name"] for each in fleet.find("deployments")]
    assert sorted(names) == [
        *("automatic", "nightly", *["on-demand"] * 6, "scheduled", "weekly", *["worker"] * 3)
    ]
    assert sorted(pool["name"] for pool in fleet.find("work_pools")) == ["relevo-cpu", "relevo-gpu"]
    made = sorted(each["name"] for each in fleet.find("automations"))
    assert made == [
        f"relevo-{n}"
        for n in ("crashed", "dead", "failed", "late", "promotion", "resume", "unstarted")
    ]
    schedules = [s for each in fleet.find("deployments") for s in each["schedules"]]
    assert len(schedules) == 3
    fleet.prefect("deploy", "--all", "--prefect-file", str(ROOT / "deployments/prefect.yaml"))
    assert len(fleet.find("deployments")) == 13


def test_chain_is_trained_by_both_workers(fleet: Fleet) -> None:
    run = fleet.order_by_command("experiment/on-demand", **small(stages=["transfer"], run="first"))
    fleet.finish(run)
    stages = fleet.stages_of(run)
    assert set(stages) == NODES
    takers = {name: fleet.worker_of(stage["id"]) for name, stage in stages.items()}
    assert set().union(*takers.values()) == {"a-gpu", "b-gpu"}, takers
    summary = fleet.summary("first")
    assert {stage["state"] for stage in summary["stages"].values()} == {"trained"}
    assert set(summary["stages"]["transfer"]["controls"]) == {"scratch", "random"}
    keys = {each["key"] for each in fleet.find("artifacts")}
    assert {"relevo-run", "relevo-stages", "relevo-stage-transfer-scratch"} <= keys
    assert "relevo-progress-train-baseline" in keys


OTHER = {"a-gpu": "b-gpu", "b-gpu": "a-gpu"}


def test_chain_is_cached_for_another_machine(fleet: Fleet) -> None:
    (baseline,) = fleet.find("flow_runs", flow_runs={"name": {"any_": ["train baseline"]}})
    (trainer,) = fleet.worker_of(baseline["id"])
    fleet.kill_worker(trainer)
    run = fleet.order("experiment/on-demand", **small(stages=["baseline"], run="second"))
    try:
        fleet.finish(run)
    finally:
        fleet.start_worker(trainer)
    takers = [fleet.worker_of(stage["id"]) for stage in fleet.stages_of(run).values()]
    assert takers == [{OTHER[trainer]}]
    first, second = (fleet.summary(run)["stages"]["baseline"] for run in ("first", "second"))
    assert second["state"] == "cached"
    assert second["model_digest"] == first["model_digest"]


def test_metrics_say_what_a_worker_has_done(fleet: Fleet) -> None:
    (run,) = fleet.find("flow_runs", flow_runs={"name": {"any_": ["second"]}})
    (stage,) = fleet.stages_of(run["id"]).values()
    (taker,) = fleet.worker_of(stage["id"])
    metrics = fleet.metrics(taker)
    assert metrics['relevo_runs_ended_total{flow="train-stage",state="completed"}'] >= 1
    assert metrics["relevo_cache_hits_total"] >= 1
    assert metrics["relevo_bytes_fetched_total"] > 10_000, "the data set, and the cached model"


def test_stage_of_another_version_is_refused(fleet: Fleet) -> None:
    data = {"kind": "dataset", "uri": "x", "size": 1, "sha256": "0" * 64, "digest": "0" * 64}
    inputs = {"dataset": data, "version": "0.0.1, code 01234567"}
    run = fleet.order("train-stage/worker", stage="baseline", inputs=inputs)
    message = fleet.finish(run, state="FAILED")["state"]["message"]
    assert f"this worker has relevo {own_version()}, but the run that dispatched" in message
    assert " has 0.0.1, code 01234567; install one version everywhere" in message


TOGETHER = {**SETTINGS, "stages.baseline.machines": 2, "stages.baseline.epochs": 4}


def test_a_stage_of_more_machines_than_the_pool_takes_is_refused(fleet: Fleet) -> None:
    many = {"settings": {**SETTINGS, "stages.baseline.machines": 3}, "stages": ["baseline"]}
    run = fleet.order("experiment/on-demand", dispatch="workers", **many)
    said = fleet.finish(run, state="FAILED")["state"]["message"]
    assert "stage baseline: machines = 3, and its work pool takes 2 runs at a time" in said


def test_two_workers_train_a_stage_and_go_on_after_one_run_was_killed(fleet: Fleet) -> None:
    """That the bits are those of an undisturbed run, test_together.py shows."""
    asked = {"settings": TOGETHER, "stages": ["baseline"], "dispatch": "workers"}
    run = fleet.order("experiment/on-demand", run="together", **asked)
    both = {"train baseline", "train baseline, machine 2"}
    fleet.until(lambda: set(fleet.stages_of(run)) == both, 600)
    helper = fleet.stages_of(run)["train baseline, machine 2"]["id"]
    fleet.until(lambda: fleet.keys("checkpoints/"), 600)
    (victim,) = (each for each in psutil.process_iter() if _is_run(each, helper))
    victim.kill()
    fleet.finish(run)
    assert fleet.summary("together")["stages"]["baseline"]["state"] == "resumed"
    leader = fleet.stages_of(run)["train baseline"]["id"]
    assert "another machine has gone" in fleet.log_of(leader)


def _is_run(process: psutil.Process, run: str) -> bool:
    """Whether a process is the one that a worker has started for a run, whose end ends all of it."""
    with suppress(psutil.Error):
        ours = any(word.endswith("fork_client.py") for word in process.cmdline())
        return ours and process.environ().get("PREFECT__FLOW_RUN_ID") == run
    return False


def test_fleet_finishes_what_a_failed_stage_leaves_and_goes_on_from_there(fleet: Fleet) -> None:
    chain: dict[str, Any] = {"stages": ["baseline", "ten_class"], "dispatch": "workers", "seed": 7}
    more_than_there_are = {**SETTINGS, "stages.baseline.devices": 8}
    run = fleet.order("experiment/on-demand", settings=more_than_there_are, **chain)
    said = fleet.finish(run, state="FAILED")["state"]["message"]
    assert "stage baseline: devices = 8" in said
    assert said.endswith("start the run again to go on from there")
    again = fleet.order("experiment/on-demand", settings=SETTINGS, run="again", **chain)
    fleet.finish(again)
    states = {name: each["state"] for name, each in fleet.summary("again")["stages"].items()}
    assert states == {"baseline": "trained", "ten_class": "cached"}


LONG = {**SETTINGS, "stages.ten_class.epochs": 80}


class Training(NamedTuple):
    """A stage in training: its flow run, its worker and its process."""

    stage: str
    worker: str
    process: psutil.Process


def run_of(process: psutil.Process) -> str | None:
    """The id of the flow run that a process executes, or None."""
    with suppress(psutil.NoSuchProcess):
        return process.environ().get("PREFECT__FLOW_RUN_ID")
    return None


def trainings(fleet: Fleet) -> set[str]:
    """The trainings that have a checkpoint in the store, each by the key of its two."""
    return {key.rpartition(".")[0] for key in fleet.keys("checkpoints/")}


def training(fleet: Fleet, run: str) -> Training:
    """Wait until a run's stage has written a checkpoint, and return where it trains."""
    before = trainings(fleet)
    fleet.until(lambda: "train ten_class" in fleet.stages_of(run), 600)
    stage = fleet.stages_of(run)["train ten_class"]["id"]
    fleet.until(lambda: trainings(fleet) - before, 600)
    (worker,) = fleet.worker_of(stage)
    process = next(
        child
        for child in psutil.Process(fleet.workers[worker].pid).children(recursive=True)
        if run_of(child) == stage
    )
    return Training(stage, worker, process)


PROMOTION = "promote first/transfer as best"


def test_promotion_waits_for_a_person(fleet: Fleet) -> None:
    """While it waits, it takes no place of a worker, and sends no heartbeats."""
    run = fleet.order("promote/on-demand", model="first/transfer", ask=True)
    fleet.until(lambda: fleet.run(run)["state_name"] == "Suspended", 300)
    assert fleet.run(run)["name"] == PROMOTION
    assert not fleet.keys("aliases/")
    wanted = {"key": {"any_": ["relevo-promotion-best"]}}
    (page,) = fleet.find("artifacts", artifacts=wanted)
    assert page["data"].startswith("# May first/transfer be @best?")


class Killed(NamedTuple):
    """A run, its stage, and the worker that was killed while it trained the stage."""

    run: str
    stage: str
    worker: str


@pytest.fixture(scope="module")
def killed(fleet: Fleet) -> Killed:
    """Kill the GPU worker that trains a stage; the dispatching flow may run on the same machine.

    Prefect notices when heartbeats have been missing for 90 s, so other tests run meanwhile.
    """
    run = fleet.order(
        "experiment/on-demand",
        **{**small(stages=["ten_class"], run="killed"), "settings": LONG},
    )
    stage, worker, process = training(fleet, run)
    family = fleet.kill_worker(worker)
    assert process in family
    return Killed(run, stage, worker)


@pytest.mark.usefixtures("killed")
def test_cancelled_run_stops_training(fleet: Fleet) -> None:
    run = fleet.order(
        "experiment/on-demand",
        **{**small(stages=["ten_class"], run="cancelled"), "settings": LONG, "seed": 1},
    )
    stage, _, process = training(fleet, run)
    fleet.prefect("flow-run", "cancel", run)
    # 30 s on an idle machine; other tests may keep it busy.
    fleet.until(lambda: not process.is_running(), 60)
    fleet.finish(run, 300, state="CANCELLED")
    fleet.finish(stage, 300, state="CANCELLED")
    assert "all epoch 80/80" not in fleet.log_of(stage)


def field(page: Page, name: str) -> Locator:
    """The form's section on one parameter."""
    label = page.get_by_text(f"{name} (Optional)", exact=True)
    return label.locator("xpath=ancestor::div[contains(@class, 'group')][1]")


@pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium isn't installed")
def test_form_starts_a_run_and_the_ui_shows_its_report(
    fleet: Fleet, killed: Killed, page: Page, photograph: Callable[[str], None]
) -> None:
    """In Prefect's UI, with the mouse and a few words."""
    flows = {each["id"]: each["name"] for each in fleet.find("flows")}
    deployment = next(
        each["id"]
        for each in fleet.find("deployments")
        if (flows[each["flow_id"]], each["name"]) == ("experiment", "on-demand")
    )
    page.goto(f"{fleet.url}/v2/deployments/deployment/{deployment}")
    page.get_by_role("button", name="Run", exact=True).click()
    photograph("deployment")
    page.get_by_role("menuitem", name="Custom run").click()
    field(page, "stages").get_by_role("tab", name="list").click()
    field(page, "stages").get_by_role("button", name="Add item").click()
    field(page, "stages").get_by_role("textbox").fill("baseline")
    field(page, "max_epochs").get_by_role("tab", name="int").click()
    epochs = field(page, "max_epochs").get_by_role("spinbutton")
    epochs.fill("0")
    page.get_by_label("Run Name").fill("by hand")
    photograph("form")
    page.get_by_role("button", name="Submit").click()
    expect(epochs).not_to_have_js_property("validationMessage", "")
    assert not fleet.find("flow_runs", flow_runs={"name": {"any_": ["by hand"]}})
    epochs.fill("1")
    # While the form loads, it may replace a name typed too early by its own proposal.
    page.get_by_label("Run Name").fill("by hand")
    expect(page.get_by_label("Run Name")).to_have_value("by hand", timeout=60_000)
    page.get_by_role("button", name="Submit").click()
    # The note with the link may go while it is clicked.
    link = page.get_by_role("link", name="View run").get_attribute("href")
    page.goto(f"{fleet.url}{link}")
    run = re.search("/runs/flow-run/([0-9a-f-]{36})", page.url)
    assert run
    assert fleet.finish(run[1])["name"] == "by hand"
    page.get_by_text("Completed", exact=True).first.wait_for()
    photograph("run")
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_role("link", name="relevo-stages").wait_for()
    photograph("artifacts")
    page.get_by_role("link", name="relevo-run").click()
    page.get_by_test_id(re.compile("timeline-card")).first.get_by_role("link").first.click()
    shown = page.get_by_test_id("markdown-display")
    shown.get_by_text("report.html").wait_for()
    shown.get_by_role("cell", name="baseline").first.wait_for()
    photograph("report")
    wanted = {"key": {"any_": ["relevo-figures-baseline"]}}
    page.goto(
        f"{fleet.url}/v2/artifacts/artifact/{fleet.find('artifacts', artifacts=wanted)[0]['id']}"
    )
    # One check of the whole page, repeated until it holds, since Prefect may render the page again.
    page.wait_for_function(ALL_DRAWN, timeout=60_000)
    photograph("figures")


def test_stage_whose_worker_is_killed_resumes_on_the_other(fleet: Fleet, killed: Killed) -> None:
    undisturbed = fleet.relevo(
        *("run", "digits", "--json", "--stage", "ten_class"),
        *("--store", str(fleet.folder / "undisturbed")),
        *(f"--set={path}={value}" for path, value in LONG.items()),
    )
    fleet.finish(killed.run, 900)
    assert fleet.worker_of(killed.stage) == {killed.worker, OTHER[killed.worker]}
    stage = fleet.summary("killed")["stages"]["ten_class"]
    assert stage["state"] == "resumed"
    assert stage["model_digest"] in undisturbed.stdout, undisturbed.stderr


def test_promotion_goes_on_when_a_person_has_agreed(fleet: Fleet) -> None:
    """Long after the automation relevo-dead would have taken it for dead."""
    (waiting,) = fleet.find("flow_runs", flow_runs={"name": {"any_": [PROMOTION]}})
    assert waiting["state_name"] == "Suspended", fleet.log_of(waiting["id"])
    form = {"promote": True, "by": "Ada", "why": "looks right"}
    fleet.resume(waiting["id"], form)
    fleet.finish(waiting["id"])
    found = json.loads(fleet.relevo("aliases", "best", "--json").stdout)["history"]
    assert [(each["by"], each["why"]) for each in found] == [("Ada", "looks right")]
    assert found[0]["model"] == "first/transfer"
