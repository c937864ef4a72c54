"""A training that is killed while it fetches or reads shards ends with the bits of one on a folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.buckets import StartRelay
from support.command import ROOT
from support.datasets import prepare_in_store

from tasks.io.prepared import load_dataset, shards_of
from tasks.store.base import Ref
from tasks.store.opening import open_store
from tasks.store.s3.blob_cache import cache_folder
from tasks.vision.data.shards import shards

pytestmark = pytest.mark.slow

SIZE, COUNT, EACH = 16, 300, 20

# Images stay in files, and there is a checkpoint after each epoch.
TRAIN = """
import sys
from tasks.io import checkpoints
from tasks.io.prepared import load_dataset
from tasks.store.base import Ref
from tasks.store.opening import open_store
from tasks.vision.data.batches import targets
from tasks.vision.device import Device, loading_tensorflow
from tasks.vision.recipe.schema import Network, Stage
from tasks.vision.trained_model import digest
with loading_tensorflow():
    from tasks.vision.training.stage import train_stage
targets.IN_MEMORY, checkpoints.REMOTE_INTERVAL = 0, 0.0
store = open_store(sys.argv[1])
data = load_dataset(Ref.model_validate_json(sys.argv[2]), store)
scheme = targets.apply_scheme(None, data.classes)
train, validation, _ = targets.training_examples(data, scheme)
points = checkpoints.Checkpoints(store, "train-killed")
network = Network(kind="simple_cnn", widths=(8, 8, 8))
stage = Stage(network=network, optimizer="adam", epochs=3, batch_size=16)
with points.resuming("train"):
    card, tensors = train_stage(
        stage, scheme, train, validation, seed=0, device=Device("cpu", "test", "float32"), checkpointer=points
    )
print(digest(tensors), card.resumed)
"""


def started(store: str, ref: Ref) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", TRAIN, store, ref.model_dump_json()],
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_training_killed_while_it_fetches_shards_ends_with_the_same_bits(
    bucket: str, relay: StartRelay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (COUNT, SIZE, SIZE, 3), np.uint8)
    labels = np.arange(COUNT) % 3
    monkeypatch.setattr(shards, "SHARD_BYTES", EACH * pixels[0].nbytes)
    folder, remote = str(tmp_path / "store"), f"s3://{bucket}/x"
    window = 2.5 * EACH * pixels[0].nbytes / 1e9
    refs = {
        prepare_in_store(pixels, labels, open_store(address), tmp_path, window)
        for address in (folder, remote)
    }
    (ref,) = refs
    size = max(shard.size for shard in shards_of(load_dataset(ref, open_store(remote))))
    bound = 5 * size + sum(path.stat().st_size for path in cache_folder().iterdir())
    monkeypatch.setenv("RELEVO_BLOB_CACHE_GB", str(bound / 1e9))

    undisturbed = started(folder, ref)
    expected, err = undisturbed.communicate(timeout=600)
    assert undisturbed.returncode == 0, err
    most = 0
    for kill_at in (
        55,
        10**9,
    ):  # in the second epoch: each, and the look at all before, needs 15 shards
        running: list[subprocess.Popen[str]] = []
        fetched: list[str] = []

        def note(
            request: str,
            kill_at: int = kill_at,
            running: list[subprocess.Popen[str]] = running,
            fetched: list[str] = fetched,
        ) -> None:
            nonlocal most
            if re.match("GET .*/shards/", request):
                fetched.append(request)
                most = max(most, size + sum(p.stat().st_size for p in cache_folder().iterdir()))
                if len(fetched) == kill_at:
                    running[0].kill()

        relay(note)
        running.append(started(remote, ref))
        answer, err = running[0].communicate(timeout=600)
        assert running[0].returncode == (-9 if kill_at < 10**9 else 0), err
    assert answer.split() == [expected.split()[0], "True"]
    assert most <= bound + size  # two threads may fetch a shard each at the same time
