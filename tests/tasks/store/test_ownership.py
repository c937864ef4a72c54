"""relevo removes only its own files from a shared store, and starts none among files of others."""

from __future__ import annotations

import base64
import itertools
import json
import os
import pickle
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.command import SMALL, Chain, Relevo
from support.stores import finish_run, keep, make_old

from tasks.io.documents import as_json
from tasks.runs.gc import collect
from tasks.runs.verify import check_all
from tasks.store.base import StoreError, sha256_of
from tasks.store.keys import FOLDERS, is_own
from tasks.store.marker import MARKER, is_marked, mark_store
from tasks.store.opening import open_store
from tasks.vision.errors import BadInput

LATER = datetime.now(UTC) + timedelta(days=400)
HASH = "0123456789abcdef" * 4
OTHERS = [
    "models/resnet50-final.pt",
    f"models/{HASH}.pt",
    "datasets/customers-2026.csv",
    "reports/q3.pdf",
    "checkpoints/epoch-3.a",
    "locks/team.lock",
    "outcomes/2026.json",
    "predictions/march.csv",
    "damaged/models~old.pt",
    "cache/pip/index.json",
    "runs/exp1/run.json",
    "runs/exp1/metrics.csv",
    "runs/exp2/report.html",
    "models/.partial-upload",
    "notes/todo.txt",
]


def test_other_peoples_files_in_a_folder_stay(tmp_path: Path) -> None:
    finish_run(tmp_path, "R")
    old = open_store(tmp_path).put("model", b"a model that no run needs")
    for key in OTHERS:
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_bytes(b"{}")
    make_old(tmp_path, 400)
    for dry in (True, False):
        sweep = collect(
            str(tmp_path), keep_last=0, older_than=timedelta(days=1), now=LATER, dry_run=dry
        )
        assert old.uri in {entry.key for entry in sweep.removed}
        assert not {entry.key for entry in sweep.removed} & {*OTHERS}
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {*OTHERS, MARKER}
    # An unsealed run.json doesn't make a folder one of relevo's runs.
    assert {"models/resnet50-final.pt", "runs/exp1/metrics.csv"} <= {*sweep.foreign}


def test_other_peoples_objects_in_a_bucket_stay(bucket: str, s3: Any) -> None:
    store = open_store(f"s3://{bucket}/shared")
    mark_store(store)
    ours = store.put("model", b"a model that no run needs")
    # Even a key of relevo's form: an object without its mark is another program's.
    others = [*OTHERS, f"models/{HASH}.safetensors", f"cache/train-{HASH}.json", f"locks/t-{HASH}"]
    for key in others:
        s3.put_object(Bucket=bucket, Key=f"shared/{key}", Body=b"{}")
    dry = collect(store.uri, keep_last=0, now=LATER, dry_run=True)
    sweep = collect(store.uri, keep_last=0, now=LATER)
    assert [entry.key for entry in sweep.removed] == [ours.uri]
    assert [entry.key for entry in dry.removed] == [ours.uri]
    listed = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert {item["Key"] for item in listed} == {f"shared/{key}" for key in [*others, MARKER]}
    assert f"models/{HASH}.safetensors" in dry.foreign


def test_gc_removes_nothing_without_a_marker(tmp_path: Path, relevo: Relevo) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / f"{HASH}.safetensors").write_bytes(b"another program's")
    make_old(tmp_path, 400)
    with pytest.raises(BadInput, match="it has no relevo-store"):
        collect(str(tmp_path))
    done = relevo("gc", "--store", str(tmp_path))
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert (tmp_path / "models" / f"{HASH}.safetensors").exists()


def test_gc_dry_run_names_foreign_files(tmp_path: Path, relevo: Relevo) -> None:
    finish_run(tmp_path, "R")
    (tmp_path / "models").mkdir(exist_ok=True)
    (tmp_path / "models" / "resnet50-final.pt").write_bytes(b"x")
    done = relevo("gc", "--dry-run", "--store", str(tmp_path))
    assert "leaves alone models/resnet50-final.pt: relevo did not write it\n" in done.out
    report = relevo("gc", "--dry-run", "--store", str(tmp_path), "--json").json
    assert report["left_alone"] == ["models/resnet50-final.pt"]


def test_run_refuses_a_folder_of_others(tmp_path: Path, relevo: Relevo) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    (tmp_path / ".git").mkdir()
    done = relevo("run", "--store", str(tmp_path))
    assert done.status == 2
    assert (
        "is no relevo store and holds other things (thesis.tex); give an empty folder" in done.err
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [".git", "thesis.tex"]


def test_mark_store_refuses_a_bucket_of_others_but_not_a_prefix(bucket: str, s3: Any) -> None:
    for i in range(5):
        s3.put_object(Bucket=bucket, Key=f"team{i}/x", Body=b"")
    with pytest.raises(StoreError, match=r"holds other things.* and 2 more"):
        mark_store(open_store(f"s3://{bucket}"))
    for _ in range(2):
        mark_store(open_store(f"s3://{bucket}/relevo"))
    assert open_store(f"s3://{bucket}").top() == ["relevo", *(f"team{i}" for i in range(5))]


def test_mark_store_mends_a_damaged_marker(tmp_path: Path) -> None:
    mark_store(open_store(tmp_path))
    (tmp_path / MARKER).write_bytes(b"{")
    open_store(tmp_path).put("model", b"of a run that was killed before its first record")
    mark_store(open_store(tmp_path))
    assert is_marked(open_store(tmp_path))


def test_mark_store_marks_a_store_of_an_earlier_version(tmp_path: Path) -> None:
    keep(tmp_path, open_store(tmp_path).put("model", b"x"))
    (tmp_path / MARKER).unlink()
    mark_store(open_store(tmp_path))
    assert (tmp_path / MARKER).is_file()


def test_is_own_knows_all_that_a_run_writes(chain: Chain) -> None:
    names = {
        path.relative_to(chain.store).as_posix()
        for path in chain.store.rglob("*")
        if path.is_file()
    }
    assert {name for name in names if not is_own(name)} == {MARKER}
    assert {name.split("/")[0] for name in names} <= {*FOLDERS, MARKER}


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


def test_a_forged_record_runs_no_code(
    chain: Chain, tmp_path: Path, relevo: Relevo, server: str
) -> None:
    """Write access to a shared store does not let anyone run code on the machines that read it."""
    shutil.copytree(chain.store, tmp_path / "s")
    command = ["run", "digits", *SMALL, "--store", str(tmp_path / "s"), "--json"]
    command += ["--stage=ten_class", "--stage=ten_class_from_baseline"]
    ran = tmp_path / "ran"
    pickled = base64.b64encode(pickle.dumps(Bomb(ran))).decode()
    records = list((tmp_path / "s" / "cache").glob("*.json"))
    assert len(records) > 9
    for path, form in zip(records, itertools.cycle(["old", "new", "inner"]), strict=False):
        true = json.loads(path.read_bytes())
        del true["sha256"]
        bomb = {"serializer": {"type": "pickle"}, "data": pickled}
        document = {
            "old": {**true, **bomb},
            "new": {"metadata": {"serializer": {"type": "pickle"}}, "result": pickled},
            "inner": {
                "metadata": {"serializer": {"type": "json"}},
                "result": json.dumps(true),
                **bomb,
            },
        }[form]
        digest, _ = sha256_of(json.dumps(document, sort_keys=True).encode())
        path.write_bytes(as_json({**document, "sha256": digest}))
    assert len([each for each in check_all(str(tmp_path / "s")) if each.fault]) == len(records)
    again = relevo(*command, env={"PREFECT_API_URL": server}).json
    assert not ran.exists()
    for name, stage in again["stages"].items():
        assert stage["state"] == "trained"
        assert stage["model_digest"] == chain.first.json["stages"][name]["model_digest"]
