"""Checkpoints: how often, in which slot, and on what kind of machine they were computed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.buckets import StartRelay

from tasks.io.checkpoints import DEVICE, Checkpoints, checkpointed
from tasks.progress import Event, listening
from tasks.store.opening import open_store
from tasks.vision.device import INSTRUCTION_SETS, cores, find_device
from tasks.vision.trained_model import pack_arrays
from tasks.vision.training.state import Snapshot

KEY = f"train-{'0' * 64}"


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_resume_on_another_kind_of_machine_says_so(elsewhere: bool, tmp_path: Path) -> None:
    store = open_store(tmp_path)
    arrays = {"w": np.zeros(2, np.float32)}
    if elsewhere:
        content = pack_arrays(arrays, {"count": 1, DEVICE: "cpu: other, avx2, 64 cores, float32"})
        store.write(f"checkpoints/{KEY}.b", content + hashlib.sha256(content).digest())
    else:
        writing = Checkpoints(store, KEY)
        writing.save(Snapshot(arrays, {"step": 1}))
        writing.wait()
    said: list[Event] = []
    with listening(said.append):
        assert Checkpoints(store, KEY).load()
    assert len(said) == elsewhere
    assert all("(cpu: other, avx2, 64 cores, float32)" in event.message for event in said)


def snapshot(step: int) -> Snapshot:
    return Snapshot({"w": np.zeros(2, np.float32)}, {"step": step})


def test_a_bucket_has_a_checkpoint_every_ten_seconds_and_a_folder_one_an_epoch(
    bucket: str, relay: StartRelay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("tasks.io.checkpoints.time.monotonic", lambda: now)
    local = Checkpoints(open_store(tmp_path), KEY)
    remote = Checkpoints(open_store(f"s3://{bucket}"), KEY)
    for each in (local, remote):
        assert each.load() is None
    seen = []
    for epoch in range(30):
        now += 3.0
        seen += [epoch] * remote.due()
        if remote.due():
            remote.save(snapshot(epoch))
            remote.wait()
        assert local.due()
    assert seen == [3, 7, 11, 15, 19, 23, 27], "12 seconds apart, as an epoch takes three"


def test_checkpoints_ask_for_and_remove_only_what_is_there(bucket: str, relay: StartRelay) -> None:
    store, watch = open_store(f"s3://{bucket}"), relay()

    def requests() -> list[str]:
        seen = [f"{name.split()[0]} {name.split()[1][-1]}" for name in watch.requests]
        watch.requests.clear()
        return seen

    for saves, sent in ((1, ["PUT b"]), (3, ["PUT b", "PUT a", "PUT b"])):
        writing = Checkpoints(store, KEY)
        assert writing.load() is None
        assert requests() == ["GET b"]
        for step in range(saves):
            writing.save(snapshot(step))
        writing.wait()
        assert requests() == sent
        assert checkpointed(store) == {KEY}
        watch.requests.clear()
        writing.clear()
        assert requests() == ["DELETE a", "DELETE b"][-min(saves, 2) :]
        assert checkpointed(store) == set()
        watch.requests.clear()


def test_a_write_that_fails_is_repeated_in_the_same_slot(
    bucket: str, relay: StartRelay, no_backoff: None
) -> None:
    store = open_store(f"s3://{bucket}")
    writing = Checkpoints(store, KEY)
    failing = (500, "InternalError")
    for step, fault in enumerate([failing, None, failing, None]):
        relay(lambda name, fault=fault: fault)
        writing.save(snapshot(step))
        writing.wait()
    relay()
    assert sorted(store.keys("checkpoints")) == [f"checkpoints/{KEY}.{slot}" for slot in "ab"]
    found = Checkpoints(store, KEY).load()
    assert found
    assert found.values["step"] == 3


def test_a_retry_loads_what_the_attempt_before_has_saved(tmp_path: Path) -> None:
    both = Checkpoints(open_store(tmp_path), KEY)
    assert both.load() is None
    with both.deferring_signals():
        both.save(snapshot(1))
    found: Any = both.load()
    assert found.values["step"] == 1
    both.clear()
    assert checkpointed(open_store(tmp_path)) == set()


def test_the_device_names_cores_and_instruction_set() -> None:
    device = find_device()
    if device.kind == "cpu":
        assert f"{cores()} cores" in device.name
        flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
        if " avx " in flags:
            assert any(f", {each}, " in device.name for each in INSTRUCTION_SETS)
