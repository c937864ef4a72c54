"""A checkpoint says on what kind of machine it was computed, and a resume on another says so."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from tasks.io.checkpoints import DEVICE, Checkpoints
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
        store.write(f"checkpoints/{KEY}.a", content + hashlib.sha256(content).digest())
    else:
        writing = Checkpoints(store, KEY)
        writing.save(Snapshot(arrays, {"step": 1}))
        writing.wait()
    said: list[Event] = []
    with listening(said.append):
        assert Checkpoints(store, KEY).load()
    assert len(said) == elsewhere
    assert all("(cpu: other, avx2, 64 cores, float32)" in event.message for event in said)


def test_the_device_names_cores_and_instruction_set() -> None:
    device = find_device()
    if device.kind == "cpu":
        assert f"{cores()} cores" in device.name
        flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
        if " avx " in flags:
            assert any(f", {each}, " in device.name for each in INSTRUCTION_SETS)
