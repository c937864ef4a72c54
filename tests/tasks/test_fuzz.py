"""Files and stores are untrusted: mutated real ones are refused with a message or read intact."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.cards import small_model
from support.command import Relevo
from support.datasets import open_in_folder, prepare_in_folder
from support.images import read, small_set, write_any
from support.mutations import mutations

from tasks.cache.records import Record, Work, read_record
from tasks.io.checkpoints import Checkpoints
from tasks.io.documents import seal, unseal
from tasks.store.base import Ref
from tasks.store.marker import mark_store
from tasks.store.opening import open_store
from tasks.vision.data.dataset import open_dataset
from tasks.vision.data.sources import find_source, read_source
from tasks.vision.errors import BadInput
from tasks.vision.recipe.schema import Network
from tasks.vision.trained_model import (
    digest,
    pack,
    pack_arrays,
    unpack,
    unpack_arrays,
)
from tasks.vision.training.state import Snapshot

fuzz = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


MODEL = small_model()
PACKED = pack(*MODEL)
HEADER = 8 + int.from_bytes(PACKED[:8], "little")


@fuzz
@given(mutations(PACKED, HEADER))
def test_a_mutated_model_is_refused_or_bounded_by_its_file(content: bytes) -> None:
    try:
        card, tensors = unpack(content, "file")
    except BadInput:
        return
    assert sum(value.nbytes for value in tensors.values()) <= len(content)
    assert max(card.architecture.own_network.widths) <= len(content)
    assert card.architecture.outputs == (1 if card.binary else len(card.labels))


def test_a_model_whose_card_claims_a_larger_network_is_refused() -> None:
    card, tensors = MODEL
    huge = Network(widths=(8192,) * 6)
    architecture = card.architecture.model_copy(update={"network": huge})
    with pytest.raises(BadInput, match="not a relevo model"):
        unpack(pack(card.model_copy(update={"architecture": architecture}), tensors), "file")


WORK = Work("train", {"stage": {"epochs": 3}})
RECORD = Record(
    ref=Ref(
        kind="model",
        uri="models/x.safetensors",
        sha256="0" * 64,
        size=len(PACKED),
        digest=digest(MODEL[1]),
    ),
    ingredients=WORK.ingredients,
)
SEALED = seal(RECORD)


@fuzz
@given(mutations(SEALED))
def test_a_mutated_record_is_refused_or_says_the_same(content: bytes) -> None:
    try:
        assert read_record(WORK.key, content) == RECORD
    except ValueError:
        assert content != SEALED


DEEP = "[" * 200_000


def test_json_of_any_depth_is_damaged(tmp_path: Path, relevo: Relevo) -> None:
    for deep in (DEEP, SEALED.decode().replace('"epochs": 3', f'"epochs": {DEEP}')):
        with pytest.raises(ValueError, match="RecursionError"):
            unseal(Record, deep.encode())
    header = json.dumps({"__metadata__": {"relevo": DEEP}}).encode()
    for head in (DEEP.encode(), header):
        with pytest.raises(ValueError, match="RecursionError"):
            unpack_arrays(len(head).to_bytes(8, "little") + head)
    key = f"cache/train-{'0' * 64}.json"
    mark_store(home := open_store(tmp_path))
    home.write(key, DEEP.encode())
    done = relevo("verify", "--store", str(tmp_path))
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert key in done.err
    for command in (["gc", "--dry-run"], ["plan"]):
        assert relevo(*command, "--store", str(tmp_path)).status == 0


@fuzz
@given(mutations(RECORD.model_dump_json().encode()))
def test_a_record_sealed_by_someone_else_is_still_checked(content: bytes) -> None:
    try:
        record = unseal(Record, seal(Record.model_validate_json(content)))
    except ValueError:
        return
    assert ".." not in record.ref.uri.split("/")


@fuzz
@given(st.data())
def test_a_mutated_checkpoint_is_passed_over_for_the_one_before(
    tmp_path: Path, data: st.DataObject
) -> None:
    store = open_store(tmp_path / "store")
    writing = Checkpoints(store, "train-0")
    for step in (1, 2):
        writing.save(Snapshot({"model/w": np.full(20, step, np.float32)}, {"step": step}))
    writing.wait()
    newest = next(key for key in store.keys("checkpoints") if b'\\"step\\": 2' in store.read(key))
    whole = store.read(newest)
    mutated = data.draw(mutations(whole))
    store.write(newest, mutated)
    found = Checkpoints(store, "train-0").load()
    assert found is not None
    assert found.values["step"] == (2 if mutated == whole else 1)
    assert (found.arrays["model/w"] == found.values["step"]).all()


@pytest.mark.parametrize("values", [{"step": 2}, {"count": "2"}, {"count": None}, [2], 2, None])
def test_a_whole_checkpoint_without_its_count_is_passed_over(tmp_path: Path, values: Any) -> None:
    store = open_store(tmp_path)
    writing = Checkpoints(store, "train-0")
    writing.save(Snapshot({"model/w": np.zeros(2, np.float32)}, {"step": 1}))
    writing.wait()
    (slot,) = store.keys("checkpoints")
    other = slot[:-1] + ("a" if slot.endswith("b") else "b")
    content = pack_arrays({"model/w": np.ones(2, np.float32)}, values)
    store.write(other, content + hashlib.sha256(content).digest())
    found = Checkpoints(store, "train-0").load()
    assert found is not None
    assert found.values["step"] == 1


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    path = write_any(folder / "set.zip", small_set())
    prepare_in_folder(read_source(find_source(str(path)), 8), 8, 0.2, folder / "set")
    return folder / "set"


@fuzz
@given(st.data())
def test_a_mutated_data_set_is_refused_or_has_its_shapes(
    prepared: Path, tmp_path: Path, data: st.DataObject
) -> None:
    shard = prepared.parent / open_in_folder(prepared).description.shards[0].file
    files = {prepared: tmp_path / "set", shard: tmp_path / "shard"}
    mutated = data.draw(st.sampled_from(list(files)))
    for path, copy in files.items():
        whole = path.read_bytes()
        if path == mutated:
            whole = data.draw(mutations(whole, 8 + int.from_bytes(whole[:8], "little")))
        copy.write_bytes(whole)
    try:
        found = open_dataset(tmp_path / "set", lambda _: tmp_path / "shard")
        part = found.part("train")
        names = found.names("train")
    except (BadInput, ValueError):
        return
    assert isinstance(names, list)
    assert part.images.dtype == np.uint8
    assert part.images.ndim == 4
    assert len(part.images) == len(part.labels)


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz"])
@fuzz
@given(data=st.data())
def test_a_mutated_archive_is_refused_or_read(
    suffix: str, tmp_path: Path, data: st.DataObject
) -> None:
    path = write_any(tmp_path / f"set.{suffix}", small_set())
    path.write_bytes(data.draw(mutations(path.read_bytes())))
    try:
        found = read(path, workers=1, max_unreadable=0.5)
    except BadInput:
        found = None
    for split in found.splits.values() if found else ():
        assert split.images.shape == (len(split.labels), 8, 8, 3)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
