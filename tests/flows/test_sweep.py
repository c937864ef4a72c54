"""`relevo sweep` end to end: small trainings, stopped and given again, its table, record and page."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.command import SMALL, Outcome, Relevo, in_one_process, started

from tasks.runs.gc import collect
from tasks.runs.verify import check_all

pytestmark = pytest.mark.slow

OVER = "stages.transfer.head_lr_scale=0.01,1"
WORDS = ["sweep", "digits", "--over", OVER, "--seeds", "2", *SMALL, "--set=defaults.controls=false"]
LATER = datetime.now(UTC) + timedelta(days=15)


class Swept:
    """A sweep that was stopped after its first run, given again, and shown."""

    def __init__(self, relevo: Relevo, server: str, home: Path, store: Path) -> None:
        self.store = store
        words = [*WORDS, "--store", str(store)]
        running = started(words, home, server, stderr=subprocess.PIPE, start_new_session=True)
        assert running.stderr is not None
        said = []
        for line in running.stderr:
            said.append(line)
            if "sweep:" in line and "1 of 4" in line:
                running.send_signal(signal.SIGINT)
        self.stopped = Outcome(running.wait(timeout=120), "", "".join(said))
        there = {"PREFECT_API_URL": server}
        self.again = relevo(*words, "--json", env=there)
        self.name = self.again.json["sweep"]
        self.shown = relevo("show", self.name, "--store", str(store))
        self.listed = relevo("runs", "--store", str(store))


@pytest.fixture(scope="module")
def swept(
    relevo: Relevo, server: str, prefect_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Swept:
    return Swept(relevo, server, prefect_home, tmp_path_factory.mktemp("sweep") / "store")


def runs_of(swept: Swept) -> list[dict[str, object]]:
    return [run for each in swept.again.json["combinations"] for run in each["runs"]]


def test_stopped_sweep_trains_what_is_missing(swept: Swept) -> None:
    assert swept.stopped.status == 128 + signal.SIGINT
    assert swept.stopped.err.endswith("relevo: stopped; the same command resumes from here\n")
    states = sorted(str(run["state"]) for run in runs_of(swept))
    assert len(states) == 4
    assert states.count("cached") == 1, "the one that had been trained"
    # A stage that settings share is trained once for each seed, by one command or the other.
    said = swept.stopped.err + swept.again.err
    assert len(re.findall(r"^train baseline: +[\d,]+ images train", said, re.M)) == 2
    assert len(re.findall(r"^train transfer: +[\d,]+ images train", said, re.M)) in (4, 5)


def test_best_is_chosen_by_validation_and_test_is_used_once(swept: Swept) -> None:
    first, second = swept.again.json["combinations"]
    means = [sum(run["validation"] for run in each["runs"]) / 2 for each in (first, second)]
    assert means == pytest.approx([first["mean"], second["mean"]])
    assert means[0] >= means[1]
    assert first["verdict"] == "best"
    chosen = swept.again.json["chosen"]
    assert chosen["settings"] == first["settings"] == {"stages.transfer.head_lr_scale": 1}
    run = json.loads((swept.store / "runs" / chosen["run"] / "run.json").read_text())
    assert chosen["accuracy"] == run["stages"]["transfer"]["metrics"]["accuracy"]
    assert chosen["images"] == 360
    scored = [json.loads(path.read_text()) for path in (swept.store / "cache").glob("evaluate-*")]
    splits = [each["ingredients"].get("split", "test") for each in scored]
    # The chosen run has two stages; of the others all are scored on validation, shared ones once.
    assert splits.count("test") == len(run["stages"]) == 2
    assert splits.count("validation") == 2 + 4
    assert len(list((swept.store / "runs").iterdir())) == 1


def test_table_and_page_say_what_was_found(swept: Swept) -> None:
    lines = swept.shown.out.splitlines()
    assert lines[0].startswith(f"{swept.name}: stage transfer, 2 combinations, 2 seeds, 4 runs")
    assert re.match(r"head_lr_scale +validation +95 % interval +difference", lines[1])
    assert re.match(r"1 +\.?\d\.\d{4} .* best *$", lines[2])
    assert any(re.search("noise|more than noise", line) for line in lines[4:5])
    chosen = swept.again.json["chosen"]
    assert f"run {chosen['run']}" in swept.shown.out
    assert swept.listed.out.splitlines()[-1] == f"sweep {swept.name}"
    page = Path(swept.again.json["page"])
    assert page == swept.store / "sweeps" / swept.name / "sweep.html"
    assert lines[-1] == f"page: {page}"
    html = page.read_text("utf-8")
    assert html.count("data:image/png;base64,") == 2
    assert not re.search(r"(?:src|href)=[\"']https?:", html)


def test_gc_retains_what_a_sweep_names_until_it_is_removed(swept: Swept, tmp_path: Path) -> None:
    store = shutil.copytree(swept.store, tmp_path / "store")
    models = len(list((store / "models").iterdir()))
    collect(str(store), keep_last=0, now=LATER)
    assert not list((store / "runs").glob("*/run.json"))
    assert len(list((store / "models").iterdir())) == models
    assert [each for each in check_all(str(store)) if each.fault] == []
    page = store / "sweeps" / swept.name / "sweep.html"
    page.write_text("other")
    assert [each.fault for each in check_all(str(store)) if each.fault] == [
        "the hash of its page sweep.html differs"
    ]
    collect(str(store), older_than=timedelta(days=1), now=LATER)
    assert not list((store / "models").iterdir())
    assert not list((store / "sweeps").glob("*/*"))


def test_sweep_that_cannot_be_done_is_refused_in_one_line(
    tmp_path: Path, prefect_home: Path
) -> None:
    over = "stages.ten_class.lr_scale=1,2"
    cases = {
        "unknown path": (["--over", "stages.ten_class.lr_scal=1,2"], "did you mean 'lr_scale'"),
        "unknown stage": (["--over", "stages.ten.epochs=1,2"], "--over stages.ten.epochs"),
        "wrong type": (["--over", "stages.ten_class.epochs=1,many"], "epochs = 'many'"),
        "out of bounds": (["--over", "stages.ten_class.lr_scale=1,-1"], "greater than 0"),
        "no effect": (["--over", "stages.ten_class.head_epochs=1,2"], "no effect"),
        "twice": (["--over", over, "--over", over], "is given twice"),
        "beside --set": (["--over", over, "--set", "stages.ten_class.lr_scale=1"], "leave one out"),
        "nothing": ([], "nothing to vary"),
        "too many": (
            ["--over", over, "--seeds", "501"],
            "1,002 runs in all; expected at most 1,000",
        ),
        "no values": (["--over", "stages.ten_class.lr_scale"], "expected PATH=V1,V2"),
        "no seeds": (["--over", over, "--seeds", "0"], "expected 1 to 1,000"),
        "one fold": (["--over", over, "--folds", "1"], "expected 2 to 100"),
        "at once": (["--over", over, "--at-once", "3"], "add --dispatch workers"),
        "other stage": (["--over", over, "--stage", "transfer"], "no effect on transfer"),
    }
    commands = {name: ["sweep", "digits", *words] for name, (words, _) in cases.items()}
    outcomes = in_one_process(commands, tmp_path, prefect_home)
    for name, (_, message) in cases.items():
        outcome = outcomes[name]
        assert outcome.status == 2, (name, outcome)
        assert outcome.out == ""
        assert len(outcome.err.splitlines()) == 1, outcome.err
        assert message in outcome.err
        assert not (tmp_path / name).exists()


def test_folds_alone_are_validation_in_turn(relevo: Relevo, server: str, tmp_path: Path) -> None:
    words = [
        "sweep",
        "digits",
        "--folds",
        "2",
        "--stage",
        "baseline",
        "--store",
        str(tmp_path / "s"),
    ]
    small = [*SMALL, "--set=stages.baseline.epochs=1"]
    found = relevo(*words, *small, "--json", env={"PREFECT_API_URL": server}).json
    (only,) = found["combinations"]
    assert [(run["seed"], run["fold"]) for run in only["runs"]] == [(0, 1), (0, 2)]
    assert only["interval"][0] < only["mean"] < only["interval"][1]
    assert found["folds"] == 2
    # The images are stored once: a fold is another list of rows.
    assert len(list((tmp_path / "s/shards").iterdir())) == 2
    assert len(list((tmp_path / "s/datasets").iterdir())) == 3
    assert "2 parts" in Path(found["page"]).read_text("utf-8")
