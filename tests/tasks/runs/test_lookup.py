"""What a run leaves beside its report: what it ran with, and its curves for TensorBoard."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from support.command import ROOT, Chain, Outcome, Relevo
from support.results import bare_stage
from support.stores import finish_run

from flows.cli.runs import runs, show
from flows.experiment import experiment
from tasks.io.documents import seal
from tasks.runs.gc import collect
from tasks.runs.listing import run_names
from tasks.runs.lookup import find_model, find_run
from tasks.runs.publish import run_name
from tasks.vision.errors import BadInput
from tasks.vision.trained_model import unpack


def folder_of(run: Outcome) -> Path:
    return Path(run.json["report"]).parent


def test_what_a_run_ran_with_is_kept(chain: Chain) -> None:
    text = (folder_of(chain.first) / "environment.txt").read_text("utf-8")
    lines = text.splitlines()
    comments = [line for line in lines if line.startswith("# ")]
    pins = lines[len(comments) :]
    assert comments[0] == "# recipe digits, seed 0"
    assert f"Python {sys.version.split()[0]}" in comments[1]
    assert re.search(r"this machine: (cpu|gpu): .*\d GiB of memory", text)
    assert "# trained on: cpu: " in text
    assert all(re.fullmatch(r"[\w.-]+==\S+", line) for line in pins)
    assert f"tensorflow=={version('tensorflow')}" in pins
    assert pins == sorted(pins, key=lambda line: line.split("==")[0].lower())
    assert not re.search(r"://|@|^-e ", text, re.M), "no addresses, which may hold credentials"
    for place in (ROOT, chain.store, Path(sys.prefix)):
        assert str(place) not in text


def test_the_latest_run_is_the_one_that_began_last_whatever_its_name(tmp_path: Path) -> None:
    store, noon = str(tmp_path), datetime(2026, 3, 1, 12, tzinfo=UTC)
    usual = run_name("digits", noon)
    finish_run(tmp_path, usual, noon)
    finish_run(tmp_path, "a-first-try", noon + timedelta(minutes=1))
    finish_run(tmp_path, "zebra", noon - timedelta(minutes=1))
    assert run_names(store) == ["zebra", usual, "a-first-try"]
    assert find_run(store, "latest").run == "a-first-try"
    assert collect(store, keep_last=1, dry_run=True).runs == ["zebra", usual]
    # Only a damaged summary, which has no start time, is sorted by its file's own time.
    (tmp_path / "runs" / "zebra" / "run.json").write_text("[" * 200_000)
    assert run_names(store) == [usual, "a-first-try", "zebra"]


def test_a_moved_store_names_the_places_where_it_is_now(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = finish_run(tmp_path / "old", "one")
    stage = bare_stage()
    there = stage.model_copy(update={"model": str(folder / "models/baseline")})
    summary = find_run(str(tmp_path / "old"), "one").model_copy(
        update={
            "store": str(tmp_path / "old"),
            "report": str(folder / "report.html"),
            "stages": {"baseline": there},
        }
    )
    (folder / "run.json").write_bytes(seal(summary))
    store = (tmp_path / "old").rename(tmp_path / "new")
    show(store=str(store))
    assert f"report: {store}/runs/one/report.html" in capsys.readouterr().out
    show(store=str(store), as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert shown["store"] == str(store)
    assert shown["report"] == f"{store}/runs/one/report.html"
    model = {"model": f"{store}/runs/one/models/baseline"}
    assert shown["stages"] == {"baseline": {**stage.model_dump(mode="json"), **model}}
    runs(store=str(store), as_json=True)
    assert json.loads(capsys.readouterr().out)["runs"] == [shown]


def test_a_changed_digit_is_damage_though_the_number_is_the_same(tmp_path: Path) -> None:
    file = finish_run(tmp_path, "one") / "run.json"
    summary = find_run(str(tmp_path), "one")
    file.write_bytes(seal(summary.model_copy(update={"seconds": 0.1 + 0.2})))
    assert find_run(str(tmp_path), "one").seconds == 0.30000000000000004
    file.write_text(file.read_text().replace("0.30000000000000004", "0.30000000000000005"))
    assert json.loads(file.read_text())["seconds"] == 0.30000000000000004
    with pytest.raises(BadInput, match="damaged"):
        find_run(str(tmp_path), "one")


def test_a_run_that_is_not_there_lists_the_newest_alone(tmp_path: Path) -> None:
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    names = [run_name("digits", noon + timedelta(minutes=minute)) for minute in range(12)]
    for minute, name in enumerate(names):
        finish_run(tmp_path, name, noon + timedelta(minutes=minute))
    with pytest.raises(BadInput) as caught:
        find_run(str(tmp_path), "yesterday's")
    newest = ", ".join(names[:-6:-1])
    assert str(caught.value).endswith(f"known: {newest}, and 7 more; `relevo runs` lists them")


@pytest.mark.parametrize("name", ["model.keras", "saved_model.pb", "model.tflite", "model.onnx"])
def test_what_export_wrote_is_for_other_programs(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "exported"
    folder.mkdir()
    with pytest.raises(BadInput, match=r"expected RUN/STAGE, .*or a run's folder models/STAGE$"):
        find_model(str(tmp_path / "store"), str(folder))
    (folder / name).write_bytes(b"a model")
    with pytest.raises(BadInput, match=rf": {name} is for other programs, .* models/STAGE$"):
        find_model(str(tmp_path / "store"), str(folder))


def test_a_stage_is_no_run_to_show(tmp_path: Path, relevo: Relevo) -> None:
    finish_run(tmp_path, "mine")
    for given in ("latest", "mine"):
        done = relevo("show", f"{given}/baseline", "--store", str(tmp_path))
        assert done.status == 2
        assert done.err == (
            f"relevo: run '{given}/baseline': expected the name of a run without a stage; give {given}\n"
        )


def test_a_slash_after_a_models_name_is_nothing(tmp_path: Path) -> None:
    finish_run(tmp_path, "mine")
    with pytest.raises(BadInput, match="stage 'all_classes' of run mine is not there"):
        find_model(str(tmp_path), "latest/all_classes/")


def test_a_damaged_run_is_named_and_the_others_are_listed(tmp_path: Path, relevo: Relevo) -> None:
    finish_run(tmp_path, "whole")
    finish_run(tmp_path, "spoilt")
    (tmp_path / "runs" / "spoilt" / "run.json").write_text("{}")
    done = relevo("runs", "--json", "--store", str(tmp_path))
    assert [run["run"] for run in done.json["runs"]] == ["whole"]
    assert (
        done.err == "relevo: run 'spoilt': its run.json is damaged; remove the folder runs/spoilt\n"
    )


def test_a_taken_name_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    folder = finish_run(tmp_path, "taken")
    # With a free name, the next thing that is looked at are the images.
    asked: dict[str, Any] = {"store": str(tmp_path), "data": str(tmp_path / "nowhere")}
    with pytest.raises(BadInput, match=r"run 'taken': .+ give another name"):
        experiment.fn(run="taken", **asked)
    with pytest.raises(BadInput, match="nowhere"):
        experiment.fn(run="free", **asked)
    # What a run left behind that crashed while it was being published can be continued.
    (folder / "run.json").unlink()
    with pytest.raises(BadInput, match="nowhere"):
        experiment.fn(run="taken", **asked)


def test_pip_takes_the_environment_of_a_run(chain: Chain) -> None:
    pinned = folder_of(chain.first) / "environment.txt"
    pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--no-index"]
    done = subprocess.run([*pip, "-r", str(pinned)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_files_of_a_run_are_in_its_lineage(chain: Chain) -> None:
    folder = folder_of(chain.first)
    files = json.loads((folder / "lineage.json").read_text())["files"]
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert there == {*files, "lineage.json", "run.json"}
    assert "environment.txt" in files


@pytest.mark.parametrize("stage", ["baseline", "ten_class_from_transfer"])
def test_tensorboard_reads_a_stages_curves(chain: Chain, stage: str) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = folder_of(chain.second)  # a cached run has them too
    card, _ = unpack((folder / f"models/{stage}/model.safetensors").read_bytes(), stage)
    log = EventAccumulator(str(folder / "tensorboard" / stage))
    log.Reload()
    for tag, key in {"loss/train": "loss", "accuracy/validation": "validation_accuracy"}.items():
        seen = log.Scalars(tag)
        assert [event.step for event in seen] == [row["epoch"] for row in card.history]
        assert [event.value for event in seen] == pytest.approx([row[key] for row in card.history])
    assert seen[-1].wall_time - seen[0].wall_time == pytest.approx(
        card.history[-1]["seconds"] - card.history[0]["seconds"], abs=1e-3
    )
    scores = chain.second.json["stages"][stage]["metrics"]
    assert log.Scalars("test/accuracy")[0].value == pytest.approx(scores["accuracy"])
