"""Networks compute the same whatever this machine sets for Keras and XLA."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from support.command import ROOT

COMPUTE = """
import hashlib, os
before = {k: v for k, v in os.environ.items() if k.startswith(("KERAS_", "MPL"))}
from tasks.vision.device import Device, loading_tensorflow
with loading_tensorflow():
    import numpy as np
    import tensorflow as tf
    from tasks.vision.network.networks import build_model, initialise
    from tasks.vision.network.runtime import set_up
from tasks.vision.recipe.schema import Network
from tasks.vision.trained_model import Architecture
assert before == {k: v for k, v in os.environ.items() if k.startswith(("KERAS_", "MPL"))}
set_up(Device("cpu", "test", "float32"))
about = Architecture(
    network=Network(widths=(4,)), image_size=16, outputs=2, mean=(0.5,) * 3, std=(0.2,) * 3
)
model = build_model(about)
images = np.arange(2 * 16 * 16 * 3).reshape(2, 16, 16, 3).astype(np.uint8)
initialise(model, images, 1)
compiled = tf.function(lambda x: model(x), jit_compile=True)
print(hashlib.sha256(model(images).numpy().tobytes() + compiled(images).numpy().tobytes()).hexdigest())
"""


def test_networks_depend_on_no_setting_of_keras_or_xla(tmp_path: Path) -> None:
    def compute(**env: str) -> str:
        plain = {
            k: v for k, v in os.environ.items() if not k.startswith(("KERAS_", "XLA", "TF_XLA"))
        }
        done = subprocess.run(
            [sys.executable, "-c", COMPUTE],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**plain, **env},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    keras = {
        "floatx": "float64",
        "epsilon": 0.1,
        "backend": "jax",
        "image_data_format": "channels_first",
    }
    (tmp_path / "keras.json").write_text(json.dumps(keras))
    expected = compute()
    for backend in ("torch", ""):
        found = compute(
            KERAS_BACKEND=backend,
            KERAS_HOME=str(tmp_path),
            KERAS_MAX_EPOCHS="many",
            MPLBACKEND="module://matplotlib_inline.backend_inline",
            XLA_FLAGS="--no_such_flag --xla_cpu_enable_fast_math=true",
            TF_XLA_FLAGS="--no_such_flag",
        )
        assert found == expected
