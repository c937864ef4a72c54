"""`verify` reports every file of a store in which a byte has changed."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.command import Chain, Relevo
from support.stores import finish_run, keep, make_old, mark

from tasks.runs.verify import check_all
from tasks.store.base import Entry
from tasks.store.local import LocalStore


@pytest.fixture
def store(chain: Chain, tmp_path: Path) -> Path:
    return Path(shutil.copytree(chain.store, tmp_path / "store"))


def faults(store: Path) -> list[str]:
    return [checked.key for checked in check_all(str(store)) if checked.fault]


def test_a_store_after_real_runs_is_clean(store: Path) -> None:
    checked = {each.key.split("/")[0] for each in check_all(str(store))}
    assert {"datasets", "models", "evaluations", "exports", "reports", "cache", "runs"} <= checked
    assert faults(store) == []


def test_a_flipped_byte_is_named_whatever_file_it_is_in(store: Path) -> None:
    draw = random.Random(0)
    files = sorted(p for p in store.rglob("*") if p.is_file() and p.parent.name != "locks")
    groups: dict[str, list[Path]] = {}
    for path in files:
        place = path.relative_to(store).parts
        kind = place[0] if place[0] != "runs" else f"runs {path.suffix} {path.name[:4]}"
        groups.setdefault(kind, []).append(path)
    assert len(groups) > 6
    for group in groups.values():
        for path in draw.sample(group, min(2, len(group))):
            whole = path.read_bytes()
            place_in = draw.randrange(len(whole))
            path.write_bytes(
                whole[:place_in] + bytes([whole[place_in] ^ 1]) + whole[place_in + 1 :]
            )
            named = faults(store)
            key = path.relative_to(store).as_posix()
            assert named, f"byte {place_in} of {key}"
            assert all(key.startswith(name) for name in named), named
            path.write_bytes(whole)
    assert faults(store) == []


def test_what_is_gone_or_cut_short_is_named(store: Path, relevo: Relevo) -> None:
    model = next((store / "models").iterdir())
    model.unlink()
    dataset = next((store / "datasets").iterdir())
    dataset.write_bytes(dataset.read_bytes()[:-1])
    (store / "runs" / "20260101-000000-000-digits").mkdir()
    half = "runs/20260101-000000-000-digits/report.html"
    begun = "runs/20260101-000000-000-digits/unfinished.json"
    for file in (half, begun):
        (store / file).write_text("half")
    make_old(store, 1, half, begun)
    done = relevo("verify", "--store", str(store))
    assert done.status == 1
    assert f"{model.relative_to(store).as_posix()} is missing" in done.err
    assert f"{dataset.relative_to(store).as_posix()}: its content does not match" in done.err
    assert "runs/20260101-000000-000-digits: it was never finished" in done.err


def test_stray_files_of_any_name_stop_nothing(tmp_path: Path) -> None:
    finish_run(tmp_path, "R")
    (tmp_path / "runs" / "R" / "my notes.txt").write_text("")
    (tmp_path / "runs" / "read me.txt").write_text("")
    for name in ("checkpoints/old copy.a", "cache/old copy.json", "models/my model"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert faults(tmp_path) == [], "relevo did not write them, and can't say what they should be"


def between(monkeypatch: pytest.MonkeyPatch, folder: str, happens: Callable[[], object]) -> None:
    """Call `happens` as soon as `folder` has been listed."""
    entries = LocalStore.entries

    def listed(store: LocalStore, prefix: str) -> Iterator[Entry]:
        found = list(entries(store, prefix))
        if prefix == folder:
            monkeypatch.setattr(LocalStore, "entries", entries)
            happens()
        yield from found

    monkeypatch.setattr(LocalStore, "entries", listed)


def test_what_is_published_meanwhile_is_not_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = mark(tmp_path)
    home.put("model", b"earlier")
    between(monkeypatch, "models", lambda: keep(tmp_path, home.put("model", b"new")))
    assert faults(tmp_path) == []


def test_what_is_removed_meanwhile_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = mark(tmp_path)
    for folder in ("models", "cache", "checkpoints", "runs", "downloads"):
        # All that a job or `gc` removes, pointers first, while `verify` walks the store.
        ref = home.put("model", b"some")
        keys = [keep(tmp_path, ref), "checkpoints/train-1.a", "downloads/x.json", ref.uri]
        home.write("checkpoints/train-1.a", b"")
        home.write("downloads/x.json", ref.model_dump_json().encode())
        run = finish_run(tmp_path, "R")

        def removed(run: Path = run, keys: list[str] = keys) -> None:
            for name in ("run.json", "lineage.json", "report.html"):
                (run / name).unlink()
            for key in keys:
                home.delete(key)

        between(monkeypatch, folder, removed)
        found = [f"{each.key}: {each.fault}" for each in check_all(str(tmp_path)) if each.fault]
        assert [line for line in found if not line.startswith("checkpoints/")] == [], folder


def test_a_run_that_is_being_published_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finish_run(tmp_path, "R")
    (run / "run.json").rename(run / "unfinished.json")
    assert faults(tmp_path) == []
    make_old(tmp_path, 1)
    assert faults(tmp_path) == ["runs/R"]
    between(monkeypatch, "runs", lambda: finish_run(tmp_path, "R"))
    assert faults(tmp_path) == []


@pytest.mark.parametrize("words", [["verify"], ["gc"], ["gc", "--dry-run"]])
def test_a_store_that_is_not_there_is_bad_input(
    tmp_path: Path, relevo: Relevo, words: list[str]
) -> None:
    done = relevo(*words, "--store", str(tmp_path / "typo"))
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(f"relevo: store {tmp_path}/typo isn't there; expected ")
    assert done.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    assert relevo("verify", "--store", str(tmp_path)).out == "0 items checked, 0 damaged\n"


def test_a_clean_store_exits_with_0(store: Path, relevo: Relevo) -> None:
    summary = relevo("verify", "--store", str(store), "--json").json
    assert summary["faults"] == []
    assert summary["checked"] > 50
