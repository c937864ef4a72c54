"""Documents of a store, forged in all forms that its readers' libraries take: no code runs, all is named."""

from __future__ import annotations

import base64
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.results import bare_result
from support.stores import finish_run, keep, mark

from tasks.cache.cache import Cache, Miss
from tasks.cache.cached_task import Published, _usable
from tasks.cache.records import Work
from tasks.io.checkpoints import Checkpoints
from tasks.io.documents import as_json
from tasks.io.load import load_dataset, load_evaluation, load_model, report_files
from tasks.runs.gc import collect
from tasks.runs.listing import all_runs, last_runs
from tasks.runs.lookup import find_model, find_run
from tasks.runs.stage_result import load_result, save_result
from tasks.runs.verify import check_all
from tasks.store.base import StoreError, sha256_of
from tasks.store.marker import MARKER, check_store
from tasks.vision.errors import BadInput
from tasks.vision.training.state import Snapshot

RUN = "12345678-1234-1234-1234-123456789abc"


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def sealed(values: dict[str, Any]) -> bytes:
    """JSON with the hash that relevo would give it, as an attacker can compute, too."""
    digest, _ = sha256_of(json.dumps(values, sort_keys=True).encode())
    return as_json({**values, "sha256": digest})


Forge = Callable[[bytes, Path], bytes]
DEEP = 100_000


def values_of(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:  # not a JSON document: a checkpoint
        return {}
    found.pop("sha256", None)
    return dict(found)


def with_more(**more: Any) -> Forge:
    return lambda content, canary: sealed({**values_of(content), **more})


def pickled(content: bytes, canary: Path) -> bytes:
    return pickle.dumps(Bomb(canary))


def prefects_record(content: bytes, canary: Path) -> bytes:
    data = base64.b64encode(pickle.dumps(Bomb(canary))).decode()
    meta = {"serializer": {"type": "pickle"}, "storage_key": "x", "prefect_version": "3.0.0"}
    old = {"serializer": {"type": "pickle"}, "data": data, "result": data, "metadata": meta}
    return sealed({**values_of(content), **old})


def safetensors_of(header: str, body: bytes = b"") -> Forge:
    raw = header.encode()
    return lambda content, canary: len(raw).to_bytes(8, "little") + raw + body


FORGERIES: dict[str, Forge] = {
    "pickle": pickled,
    "Prefect's record": prefects_record,
    "__prefect_kind": with_more(__prefect_kind="jinja", template="{{ 1 }}"),
    "extra key": with_more(more=1),
    "NaN": with_more(ref=float("nan"), seconds=float("nan"), started=float("inf")),
    "huge integer": lambda content, canary: b'{"seconds": ' + b"9" * 5000 + b', "sha256": ""}',
    "huge number": with_more(seconds=1e300, seed=10**400, ref={"size": 10**400}),
    "ancient": with_more(started="0001-01-01T00:00:00+23:00"),
    "null": lambda content, canary: b"null",
    "list": lambda content, canary: b"[]",
    "string": lambda content, canary: b'"x"',
    "empty": lambda content, canary: b"",
    "no UTF-8": lambda content, canary: b"\xff\xfe\x00",
    "wrong types": with_more(ref=[], stages=3, model="x", ingredients=None),
    "duplicate keys": lambda content, canary: content.replace(b"{", b'{"sha256": "", ', 1),
    "deep list": lambda content, canary: b"[" * DEEP,
    "deep object": lambda content, canary: b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep inside": lambda content, canary: b'{"ref": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "header of any length": lambda content, canary: b"\xff" * 8 + b"{}",
    "tensors that overlap": safetensors_of(
        '{"__metadata__": {"relevo": "{}"}, "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},'
        ' "b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}',
        bytes(4),
    ),
    "tensor of any shape": safetensors_of(
        '{"__metadata__": {"relevo": "{}"}, "a": {"dtype": "F32", "shape": [9223372036854775807, 9],'
        ' "data_offsets": [0, 4]}}',
        bytes(4),
    ),
    "deep header": safetensors_of("[" * DEEP),
}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with a document of each kind."""
    folder = tmp_path / "store"
    home = mark(folder)
    model = home.put("model", b"weights", ".safetensors")
    keep(folder, model, "train", seed=1)
    finish_run(folder, "chosen", models={"baseline": model})
    writing = Checkpoints(home, f"train-{'0' * 64}")
    writing.save(Snapshot({"w": np.zeros(2, np.float32)}, {"step": 1}))
    writing.wait()
    save_result(home, RUN, bare_result())
    home.write(f"downloads/{'1' * 64}.json", model.model_dump_json().encode())
    return folder


DOCUMENTS = [
    "cache/",
    "runs/chosen/run.json",
    "runs/chosen/lineage.json",
    "checkpoints/",
    "outcomes/",
]
DOCUMENTS += ["downloads/", MARKER]


def in_words(use: Callable[[], object]) -> None:
    """Use a forged store: it works, or refuses in one line."""
    said = ""
    try:
        use()
    except (BadInput, StoreError, ValueError) as error:
        said = str(error)
    assert "\n" not in said


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_document_runs_no_code_and_is_named(forgery: str, store: Path) -> None:
    home, canary, work = mark(store), store.parent / "canary", Work("train", {"seed": 1})
    address = str(store)
    for document in DOCUMENTS:
        key = next(
            k for k in [*home.keys(document.rstrip("/")), document] if k.startswith(document)
        )
        whole = (store / key).read_bytes()
        (store / key).write_bytes(FORGERIES[forgery](whole, canary))
        named = [each.key for each in check_all(address) if each.fault]
        assert any(key.startswith(name) for name in named), (key, named)
        found = Cache(home).lookup(work)
        assert isinstance(found, Miss) == (document == "cache/")
        assert Checkpoints(home, f"train-{'0' * 64}").load() is None or document != "checkpoints/"
        assert (load_result(home, RUN) is None) == (document == "outcomes/")
        all_runs(address)
        last_runs(address, 3)
        for use in (
            lambda: find_run(address, "latest"),
            lambda: find_model(address, "latest/baseline"),
            lambda: collect(address, dry_run=True),
            lambda: check_store(home),
        ):
            in_words(use)
        (store / key).write_bytes(whole)
    assert not canary.exists()
    assert [each.key for each in check_all(address) if each.fault] == []


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_blob_is_no_result_though_its_hash_fits(forgery: str, store: Path) -> None:
    """A record may point to any bytes: they are refused, and the work is done again."""
    home, canary = mark(store), store.parent / "canary"
    content = FORGERIES[forgery](b"{}", canary)
    work = Work("train", {"forged": True})
    for kind, load in {
        "model": lambda ref: load_model(ref, home),
        "dataset": lambda ref: load_dataset(ref, home),
        "evaluation": lambda ref: load_evaluation(ref, home),
        "report": lambda ref: [*report_files(ref, home)],
    }.items():
        ref = home.put(kind, content)  # type: ignore[arg-type]
        Cache(home).record(work, ref)

        def published(ref: Any, load: Callable[[Any], object] = load) -> Published:
            load(ref)
            return Published.of(ref)

        assert _usable(Cache(home), work, published) is None, kind
        assert isinstance(Cache(home).lookup(work), Miss), "it was moved aside"
    assert not canary.exists()
