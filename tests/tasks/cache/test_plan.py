"""The plan says hit or miss with the reason, and needs neither a server nor TensorFlow."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.command import ROOT, SMALL, Chain, Relevo
from support.images import encoded, write_folder
from support.stores import keep

from tasks.cache.history import History, _differences
from tasks.cache.records import Record, Work
from tasks.store.base import Ref
from tasks.store.opening import open_store

REF = Ref(kind="model", uri="models/x", sha256="0" * 64, size=1, digest="0" * 64)


def steps(relevo: Relevo, store: Path, *words: str) -> dict[str, Any]:
    steps: dict[str, Any] = relevo("plan", "--store", str(store), "--json", *words).json["steps"]
    return steps


def test_what_was_done_is_a_hit(chain: Chain, relevo: Relevo) -> None:
    found = steps(relevo, chain.store, *SMALL)
    assert {"prepare data", "baseline", "transfer, scratch", "transfer, random"} <= set(found)
    assert {step["hit"] for step in found.values()} == {True}
    said = relevo("plan", "--store", str(chain.store), *SMALL).out
    assert said.splitlines()[-1] == "nothing to train"


def test_a_miss_names_the_difference(chain: Chain, relevo: Relevo) -> None:
    found = steps(relevo, chain.store, *SMALL, "--set=stages.ten_class.epochs=7")
    assert not found["ten_class"]["hit"]
    assert found["ten_class"]["reason"] == "epochs 7, was 3"
    summary = chain.first.json["stages"]["ten_class"]
    assert found["ten_class"]["seconds"] == pytest.approx(summary["seconds"] * 7 / 3, rel=0.01)
    assert found["baseline"]["hit"]


def test_what_starts_from_a_miss_waits_for_it(chain: Chain, relevo: Relevo) -> None:
    found = steps(relevo, chain.store, *SMALL, "--set=stages.baseline.epochs=9")
    assert re.fullmatch(r"epochs 9, was \d", found["baseline"]["reason"])
    assert found["transfer"]["reason"] == "baseline is trained first"
    assert found["transfer, scratch"]["hit"]


def test_an_empty_store_knows_nothing(relevo: Relevo, tmp_path: Path) -> None:
    found = steps(relevo, tmp_path / "empty")
    assert found["prepare data"] == {
        "hit": False,
        "reason": "nothing similar is cached",
        "seconds": 0.0,
    }
    assert found["ten_class"]["seconds"] is None
    assert not (tmp_path / "empty").exists()


def test_a_network_of_another_size_takes_nobody_knows_how_long(
    chain: Chain, relevo: Relevo
) -> None:
    found = steps(relevo, chain.store, *SMALL, "--set=stages.ten_class.network.widths=[8, 99, 16]")
    assert found["ten_class"]["seconds"] is None


def test_classes_that_a_scheme_names_in_vain_are_refused(relevo: Relevo, tmp_path: Path) -> None:
    photo = encoded(Image.new("RGB", (8, 8)), "PNG")
    names = [f"{split}/{label}/1.png" for split in ("train", "test") for label in ("a", "b")]
    folder = write_folder(tmp_path / "two", dict.fromkeys(names, photo))
    done = relevo("plan", "digits", "--data", str(folder), "--store", str(tmp_path / "none"))
    assert done.status == 2
    assert "class '1' of target 'one' is not there" in done.err
    assert "change the recipe's labels, or --data" in done.err


def test_a_damaged_blob_is_the_reason(chain: Chain, relevo: Relevo, tmp_path: Path) -> None:
    store = Path(shutil.copytree(chain.store, tmp_path / "store"))
    lineage = json.loads((store / "runs" / chain.first.json["run"] / "lineage.json").read_text())
    model = store / lineage["models"]["ten_class"]["uri"]
    model.write_bytes(model.read_bytes()[:-1])
    (store / lineage["models"]["baseline"]["uri"]).unlink()
    found = steps(relevo, store, *SMALL)
    assert found["ten_class"]["reason"] == "its result is damaged"
    assert found["baseline"]["reason"] == "its result is missing from the store"


def test_a_gone_blob_is_the_reason_wherever_the_store_lies(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "st"
    home = open_store(folder)
    ref = home.put("model", b"model")
    keep(folder, ref, seed=1)
    work = Work("train", {"seed": 1})
    assert History(str(folder)).lookup(work) == (ref, "its result is cached")
    home.delete(ref.uri)
    assert History(str(folder)).lookup(work) == (None, "its result is missing from the store")
    assert History(str(tmp_path)).lookup(work) == (None, "nothing similar is cached")


def test_a_changed_module_is_named(chain: Chain, tmp_path: Path) -> None:
    for room in ("flows", "tasks"):
        shutil.copytree(ROOT / room, tmp_path / room)
    module = tmp_path / "tasks" / "vision" / "data" / "batches" / "augment.py"
    module.write_text(module.read_text() + "\nX = 1\n")
    command = [sys.executable, "-X", "importtime", "-m", "flows", "plan", "--json"]
    answer = subprocess.run(
        [*command, "--store", str(chain.store), *SMALL],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    found = json.loads(answer.stdout)["steps"]
    assert found["ten_class"]["reason"] == "tasks/vision/data/batches/augment.py changed"
    assert found["prepare data"]["hit"], "preparation runs no augmentation"
    imported = {line.split("|")[-1].strip().split(".")[0] for line in answer.stderr.splitlines()}
    assert "numpy" in imported
    assert not {"tensorflow", "keras", "prefect"} & imported


@pytest.mark.parametrize(
    ("now", "then", "reason"),
    [
        ({"seed": 1}, {"seed": 0}, ["seed 1, was 0"]),
        ({"dataset": "a"}, {"dataset": "b"}, ["the images differ"]),
        (
            {"versions": {"keras": "3.16"}},
            {"versions": {"keras": "3.15"}},
            ["keras 3.16, was 3.15"],
        ),
        ({"code": {"tasks.vision.x": "1"}}, {"code": {}}, ["tasks/vision/x.py is new"]),
        ({"stage": {"shift": 2}}, {"stage": {}}, ["shift 2, was unset"]),
    ],
)
def test_differences_in_words(now: dict[str, Any], then: dict[str, Any], reason: list[str]) -> None:
    assert _differences(Work("train", now), Record(ref=REF, ingredients=then)) == reason
