"""Several devices that share each batch train like one, to float tolerance."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from support.command import ROOT

TWO_DEVICES = """
import json
import sys

import numpy as np
import tensorflow as tf

halves = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], halves)
from support.scans import CPU, DIGITS, PAIR, fit, read_scans, stage

from tasks.vision.network import layers
from tasks.vision.training.stage import Parent, train_stage

layers.MICRO_BATCH = 20
scans = read_scans()
out = {}
for name, settings in {
    "muon": {},
    "sgd": {"optimizer": "sgd", "label_smoothing": 0.2},
    "adam": {"optimizer": "adam", "network": {"kind": "simple_cnn", "widths": [8, 8, 16]}},
}.items():
    for devices in (1, 2):
        card, tensors = fit(stage(batch_size=40, devices=devices, **settings), scans)
        out[f"{name} {devices}"] = [card.history, float(sum(np.abs(t).sum() for t in tensors.values()))]
parent = Parent(*fit(stage(), scans))
for devices in (1, 2):
    settings = stage(batch_size=40, devices=devices, start="baseline", train="head then all")
    card, tensors = fit(settings, scans, parent=parent)
    out[f"fine-tuned {devices}"] = [card.history, float(sum(np.abs(t).sum() for t in tensors.values()))]
try:
    fit(stage(devices=3), scans)
except Exception as error:
    out["three"] = str(error)
print(json.dumps(out))
"""


def test_two_devices_share_a_batch_and_learn_the_same() -> None:
    """Two logical processors, in a process of their own: TensorFlow divides one only before it starts."""
    answer = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
    )
    assert answer.returncode == 0, answer.stderr
    out = json.loads(answer.stdout.splitlines()[-1])
    for name in ("muon", "sgd", "adam", "fine-tuned"):
        (alone, size), (shared, same_size) = out[f"{name} 1"], out[f"{name} 2"]
        for one, other in zip(alone, shared, strict=True):
            for key in ("loss", "validation_loss"):
                assert other[key] == pytest.approx(one[key], rel=1e-3), (name, one, other)
        assert same_size == pytest.approx(size, rel=1e-3)
        assert alone != shared, "two devices add up in another order"
    assert "devices = 3, and TensorFlow sees 2 CPU" in out["three"]
