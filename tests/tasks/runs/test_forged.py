"""Documents of a store, forged in all forms that its readers' libraries take: no code runs, all is named."""

from __future__ import annotations

import base64
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.cards import small_model
from support.images import peak_memory
from support.results import bare_result
from support.stores import finish_run, keep, mark

from tasks.cache.cache import Cache, Miss
from tasks.cache.cached_task import Published, _usable
from tasks.cache.records import Work
from tasks.io.checkpoints import Checkpoints
from tasks.io.documents import as_json
from tasks.io.load import load_evaluation, load_model, report_files
from tasks.io.prepared import load_dataset
from tasks.runs.aliases.history import History, append
from tasks.runs.aliases.record import AliasedModel
from tasks.runs.gc import collect
from tasks.runs.listing import all_runs, last_runs
from tasks.runs.lookup import find_model, find_run
from tasks.runs.stage_result import load_result, save_result
from tasks.runs.verify import check_all
from tasks.store import lease
from tasks.store.base import Ref, Store, StoreError, sha256_of
from tasks.store.marker import MARKER, check_store
from tasks.store.opening import open_store
from tasks.vision.errors import BadInput
from tasks.vision.trained_model import digest, pack
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
    promoted = AliasedModel(run="chosen", stage="baseline", ref=model)
    append(History.of(home, "best"), "promoted", promoted)
    home.write(f"downloads/{'1' * 64}.json", model.model_dump_json().encode())
    return folder


DOCUMENTS = [
    "cache/",
    "runs/chosen/run.json",
    "runs/chosen/lineage.json",
    "checkpoints/",
    "outcomes/",
]
DOCUMENTS += ["downloads/", "aliases/", MARKER]


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
            lambda: find_model(address, "@best"),
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
        "model": load_model,
        "dataset": load_dataset,
        "evaluation": load_evaluation,
        "report": lambda ref, store: [*report_files(ref, store)],
    }.items():
        ref = home.put(kind, content)  # type: ignore[arg-type]
        Cache(home).record(work, ref)

        def published(
            ref: Ref, store: Store, load: Callable[[Ref, Store], object] = load
        ) -> Published:
            load(ref, store)
            return Published.of(ref)

        assert _usable(Cache(home), work, published) is None, kind
        assert isinstance(Cache(home).lookup(work), Miss), "it was moved aside"
    assert not canary.exists()


def keras_archive(config: str, weights: bytes = b"") -> Forge:
    """A .keras file of this configuration."""

    def forge(content: bytes, canary: Path) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("metadata.json", "{}")
            archive.writestr("config.json", config.replace("CANARY", str(canary)))
            archive.writestr("model.weights.h5", weights)
        return buffer.getvalue()

    return forge


LAMBDA = json.dumps(
    {
        "module": "keras.layers",
        "class_name": "Lambda",
        "config": {
            "function": {
                "module": "os",
                "class_name": "function",
                "config": "mkdir",
                "registered_name": "mkdir",
            },
            "arguments": {"path": "CANARY"},
        },
    }
)
KERAS_FORGERIES = FORGERIES | {
    "keras with a function": keras_archive(LAMBDA),
    "keras nested deep": keras_archive("[" * DEEP),
    "keras with pickled weights": keras_archive("{}", pickle.dumps(Bomb(Path("canary")))),
}


@pytest.mark.parametrize("forgery", KERAS_FORGERIES)
def test_a_forged_file_of_a_run_folder_runs_no_code_and_is_named(
    forgery: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder, canary = tmp_path / "store", tmp_path / "canary"
    card, tensors = small_model()
    home, whole = mark(folder), pack(card, tensors)
    ref = home.put("model", whole, ".safetensors", digest=digest(tensors))
    place = "models/baseline"
    more = {f"{place}/model.safetensors": whole, f"{place}/model.keras": b"{never opened}"}
    more |= {"environment.txt": b"{keras==3}", f"{place}/card.md": b"{baseline}"}
    run = finish_run(folder, "chosen", models={"baseline": ref}, more=more)
    for path, content in more.items():
        forged = KERAS_FORGERIES[forgery](content, canary)
        (run / path).write_bytes(forged)
        named = [each.key for each in check_all(str(folder)) if each.fault]
        assert named == [f"runs/chosen/{path}"]
        # The run's own model is a blob of the store; the file in its folder is for others.
        assert find_model(str(folder), "chosen/baseline")[0] == card
        if path.endswith(".safetensors"):
            with pytest.raises(BadInput, match="not a relevo model"):
                find_model(str(folder), str(run / place))
        else:
            assert find_model(str(folder), str(run / place))[0] == card
        in_words(lambda: collect(str(folder), dry_run=True))
        (run / path).write_bytes(content)
    (run / place / "model.safetensors").unlink()
    with pytest.raises(BadInput, match=r"model\.keras is for other programs"):
        find_model(str(folder), str(run / place))
    assert not canary.exists()


def test_a_model_that_claims_a_terabyte_is_refused_before_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    with (tmp_path / "m" / "model.safetensors").open("wb") as file:
        file.truncate(2**40)  # a hole, which takes no space
    with peak_memory() as peak:
        with pytest.raises(StoreError, match="has 1,099,511,627,776 bytes, expected") as refused:
            find_model(str(tmp_path / "store"), str(tmp_path / "m"))
        assert peak() < 50 * 2**20
    assert "\n" not in str(refused.value)


def test_a_forged_lease_is_that_of_a_dead_holder(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LEASE_TIMEOUT", 0.1)
    monkeypatch.setattr(lease, "POLL", 0.02)
    home, canary = open_store(f"s3://{bucket}/x"), tmp_path / "canary"
    contents = {name: forge(b"{}", canary) for name, forge in FORGERIES.items()}
    contents["huge"] = bytes(70 << 20)
    for content in contents.values():
        home.write("locks/some-work", content)
        with home.claim("some-work", lambda: None):
            pass
        assert list(home.keys("locks")) == []
    assert not canary.exists()


@pytest.mark.parametrize("kind", ["file", "folder", "link", "link to nothing", "pipe"])
def test_a_forged_lock_of_a_folder_changes_nothing_else(kind: str, tmp_path: Path) -> None:
    """A link would have the next run write to a file of its owner."""
    home, mine = mark(tmp_path / "store"), tmp_path / "mine.txt"
    mine.write_text("precious")
    lock = tmp_path / "store/locks/some-work"
    lock.parent.mkdir()
    if kind == "file":
        lock.write_bytes(pickle.dumps(Bomb(tmp_path / "canary")))
    elif kind == "folder":
        lock.mkdir()
    elif kind == "pipe":
        os.mkfifo(lock)
    else:
        lock.symlink_to(mine if kind == "link" else tmp_path / "new.txt")

    def use() -> None:
        with home.claim("some-work", lambda: None):
            pass

    in_words(use)
    assert mine.read_text() == "precious"
    assert not (tmp_path / "new.txt").exists()
    assert not (tmp_path / "canary").exists()
