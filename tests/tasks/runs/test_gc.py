"""Garbage collection keeps what a remaining run needs or a job may use, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.command import Chain, Relevo
from support.stores import finish_run, keep, make_old, mark

from tasks.runs.gc import collect
from tasks.runs.listing import run_names
from tasks.runs.lookup import find_model
from tasks.runs.verify import check_all
from tasks.store.base import sha256_of
from tasks.store.local import LocalStore
from tasks.store.marker import MARKER, mark_store
from tasks.store.opening import open_store

LATER = datetime.now(UTC) + timedelta(days=15)


@pytest.fixture
def store(chain: Chain, tmp_path: Path) -> Path:
    return Path(shutil.copytree(chain.store, tmp_path / "store"))


def files(store: Path) -> set[str]:
    found = (path for path in store.rglob("*") if path.is_file() and path.parent.name != "locks")
    found = (path for path in found if path.name != MARKER)
    return {path.relative_to(store).as_posix() for path in found}


def write_old(path: Path, days: float, content: bytes = b"x") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    then = (datetime.now(UTC) - timedelta(days=days)).timestamp()
    os.utime(path, (then, then))
    return path.parent.name + "/" + path.name


def test_without_a_rule_every_run_keeps_all_it_needs(store: Path) -> None:
    before, runs = files(store), run_names(str(store))
    sweep = collect(str(store), now=LATER)
    assert sweep.runs == []
    assert run_names(str(store)) == runs
    assert [checked for checked in check_all(str(store)) if checked.fault] == []
    for run in runs:
        for stage in json.loads((store / "runs" / run / "run.json").read_text())["stages"]:
            find_model(str(store), f"{run}/{stage}")
        exports = json.loads((store / "runs" / run / "lineage.json").read_text())["exports"]
        assert {ref["uri"] for ref in exports.values()} <= files(store)
    assert files(store) == before - {entry.key for entry in sweep.removed}


@pytest.mark.parametrize("name", ["predictions/{}.csv", "pages/{}.html"])
def test_tables_of_predictions_and_pages_go_by_their_age(name: str, store: Path) -> None:
    old, young = (write_old(store / name.format(uuid.uuid4()), days) for days in (40, 20))
    collect(str(store), keep_last=0)
    assert {old, young} <= files(store)
    collect(str(store), older_than=timedelta(days=30))
    assert old not in files(store)
    assert young in files(store)


def test_a_removed_run_takes_what_only_it_needed(store: Path) -> None:
    runs = run_names(str(store))
    first = json.loads((store / "runs" / runs[0] / "lineage.json").read_text())
    before = files(store)
    dry = collect(str(store), keep_last=0, now=LATER, dry_run=True)
    assert files(store) == before
    sweep = collect(str(store), keep_last=0, now=LATER)
    assert sweep.runs == runs
    assert {entry.key for entry in dry.removed} == {entry.key for entry in sweep.removed}
    assert sweep.size > 1_000_000
    assert first["models"]["baseline"]["uri"] in before
    assert first["exports"]["baseline"]["uri"] in before
    assert files(store) == set()


def test_no_empty_folder_stays_of_a_removed_run(tmp_path: Path) -> None:
    store = tmp_path / "store"
    for name in ("gone", "busy"):
        finish_run(store, name)
        open_store(store).write(f"runs/{name}/figures/a.png", b"")
    writing = store / f"runs/busy/figures/.partial-{'0' * 32}"
    write_old(writing, 0)
    collect(str(store), keep_last=0)
    assert [path.name for path in (store / "runs").iterdir()] == ["busy"]
    assert writing.exists()


def test_a_write_makes_its_folder_again_if_it_is_removed_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch = Path.touch
    seen: list[Path] = []

    def removed_first(path: Path, mode: int = 0o666, exist_ok: bool = True) -> None:
        if not seen:
            seen.append(path)
            path.parent.rmdir()
        touch(path, mode, exist_ok)

    monkeypatch.setattr(Path, "touch", removed_first)
    home = open_store(str(tmp_path / "store"))
    home.write("runs/one/run.json", b"{}")
    assert seen
    assert home.read("runs/one/run.json") == b"{}"


def test_what_a_running_job_may_use_stays(store: Path) -> None:
    runs = run_names(str(store))
    lineage = json.loads((store / "runs" / runs[-1] / "lineage.json").read_text())
    # All files are new: a job may have got them from the cache a moment ago.
    sweep = collect(str(store), keep_last=0)
    assert sweep.runs == runs
    assert lineage["models"]["baseline"]["uri"] in files(store)
    assert any(name.startswith("cache/train-") for name in files(store))


def test_a_job_of_several_days_keeps_what_it_found_or_was_given(tmp_path: Path) -> None:
    home = open_store(tmp_path)
    images = home.put("dataset", b"images")
    start = home.put("model", b"start", made_from=(images,))
    scores = home.put("evaluation", b"scores", made_from=(start, images))
    keep(tmp_path, images, "prepare")
    found = keep(tmp_path, start, "train")
    unrecorded = home.put("model", b"its record is not written yet")
    make_old(tmp_path, 10)
    make_old(tmp_path, 40, images.uri, start.uri)  # made long before the job found them
    collect(str(tmp_path), keep_last=0)
    assert {images.uri, start.uri, scores.uri, unrecorded.uri, found} <= files(tmp_path)
    make_old(tmp_path, 15)
    collect(str(tmp_path))
    assert files(tmp_path) == set()


def test_what_a_run_finds_while_garbage_is_collected_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = open_store(tmp_path)
    images = home.put("dataset", b"images")
    model = home.put("model", b"model", made_from=(images,))
    found = keep(tmp_path, model, "train", seed=1)
    other = keep(tmp_path, home.put("model", b"another"), "prepare")
    stray = sorted(home.put("evaluation", content).uri for content in (b"1", b"2"))
    make_old(tmp_path, 20)
    assert other < found, "it is removed first"
    delete = LocalStore.delete

    def meanwhile(store: LocalStore, key: str) -> None:
        delete(store, key)
        if key == other:
            store.touch(found)
        elif key == stray[0]:
            content = b"1" if stray[1].endswith(sha256_of(b"1")[0]) else b"2"
            assert store.put("evaluation", content).uri == stray[1]

    monkeypatch.setattr(LocalStore, "delete", meanwhile)
    removed = {entry.key for entry in collect(str(tmp_path)).removed}
    assert {found, model.uri, images.uri, stray[1]} == files(tmp_path)
    assert removed & files(tmp_path) == set()


def test_a_persons_notes_in_a_run_folder_stay(tmp_path: Path) -> None:
    folder = finish_run(tmp_path, "R")
    (folder / "my notes.txt").write_text("the best one")
    (folder / "mi año").mkdir()
    (folder / "mi año" / "ideas, more.md").write_text("")
    sweep = collect(str(tmp_path), keep_last=0)
    assert sweep.runs == ["R"]
    assert files(tmp_path) == {"runs/R/my notes.txt", "runs/R/mi año/ideas, more.md"}
    assert {*sweep.foreign} == files(tmp_path)


def test_download_goes_when_no_preparation_has_used_it(tmp_path: Path) -> None:
    home = mark(tmp_path)
    archive = home.put("download", b"archive", ".tar.gz")
    pointer = f"downloads/{archive.sha256}.json"
    home.write(pointer, archive.model_dump_json().encode())
    make_old(tmp_path, 10, archive.uri, pointer)
    assert collect(str(tmp_path)).removed == []
    make_old(tmp_path, 15, archive.uri, pointer)
    collect(str(tmp_path))
    assert files(tmp_path) == set()


def test_half_a_run_goes_when_it_is_old_enough(tmp_path: Path) -> None:
    finish_run(tmp_path, "whole")
    for name, days in (("old", 2), ("new", 0.5)):
        for file in ("unfinished.json", "report.html"):
            write_old(tmp_path / "runs" / name / file, days)
    assert {entry.key for entry in collect(str(tmp_path)).removed} == {
        "runs/old/unfinished.json",
        "runs/old/report.html",
    }
    assert "runs/new/report.html" in files(tmp_path)


def test_what_lies_beside_the_run_folders_is_no_run(tmp_path: Path) -> None:
    mark_store(open_store(tmp_path))
    write_old(tmp_path / "runs" / "run.json", 3)
    write_old(tmp_path / "runs" / "read me.txt", 3)
    assert run_names(str(tmp_path)) == []
    assert collect(str(tmp_path), keep_last=0).removed == []


def test_leftovers_go_when_they_are_old_enough(tmp_path: Path) -> None:
    store = tmp_path / "store"
    mark_store(open_store(store))
    young = write_old(store / "models" / f"{'0' * 64}.safetensors", 13)
    old = write_old(store / "models" / f"{'1' * 64}.safetensors", 15)
    partial = write_old(store / "models" / f".partial-{'1' * 32}", 2)
    writing = write_old(store / "models" / f".partial-{'2' * 32}", 0.1)
    stopped = write_old(store / "checkpoints" / f"train-{'1' * 64}.a", 2)
    given_up = write_old(store / "checkpoints" / f"train-{'2' * 64}.a", 15)
    aside = write_old(store / "damaged" / f"models~{'3' * 64}", 2)
    removed = {entry.key for entry in collect(str(store)).removed}
    assert {old, partial, given_up, aside} <= removed
    assert not {young, writing, stopped} & removed
    assert {young, writing, stopped} <= files(store)


def test_runs_go_only_if_every_rule_lets_them(store: Path) -> None:
    runs = run_names(str(store))
    month = timedelta(days=30)
    assert collect(str(store), keep_last=1, older_than=month, dry_run=True).runs == []
    for file in (store / "runs" / runs[0]).iterdir():
        os.utime(file, (0, 0))
    assert collect(str(store), older_than=month, dry_run=True).runs == runs[:1]
    assert collect(str(store), keep_last=1, older_than=month, dry_run=True).runs == runs[:1]
    assert collect(str(store), keep_last=len(runs), older_than=month, dry_run=True).runs == []


def test_the_command_says_what_it_would_do(store: Path, relevo: Relevo) -> None:
    done = relevo("gc", "--keep-last=1", "--dry-run", "--store", str(store))
    assert done.status == 0
    assert f"would remove the run {run_names(str(store))[0]}" in done.out
    summary = relevo("gc", "--keep-last=1", "--store", str(store), "--json").json
    assert summary["bytes"] > 0
    assert len(run_names(str(store))) == 1
