"""Find this machine's device without importing TensorFlow, and silence TensorFlow's output."""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from tasks.vision.errors import BadInput

ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
# Read at any time, and no part of a cache key. XLA ends the process for a flag that it doesn't know.
XLA = ("XLA_FLAGS", "TF_XLA_FLAGS")
CUDA_FOLDER = "--xla_gpu_cuda_data_dir="  # of a GPU's compiler: the one flag that changes no result
INSTRUCTION_SETS = ("amx_bf16", "avx512_bf16", "avx512_vnni", "avx512f", "avx2", "avx")


@dataclass(frozen=True)
class Device:
    """Where training runs.

    Attributes:
        kind: "cpu" or "gpu".
        name: of the processor or GPU, as the vendor calls it.
        policy: Keras' dtype policy, "float32", "mixed_bfloat16" or "mixed_float16".
    """

    kind: str
    name: str
    policy: str

    @property
    def in_float32(self) -> Device:
        """The same device with the policy float32."""
        return replace(self, policy="float32")

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}, {self.policy.removeprefix('mixed_')}"


@cache
def find_device() -> Device:
    """Return the GPU that the driver offers, else the processor, and the fastest policy it has hardware for.

    bfloat16 needs AVX512_BF16 or AMX, or compute capability 8.0; older GPUs with tensor cores (7.0) use
    float16. Elsewhere float32: emulated bfloat16 is many times slower.
    """
    found = _nvidia()
    if found:
        name, capability = found
        fast = "mixed_bfloat16" if capability >= 8 else "mixed_float16"
        return Device("gpu", name, fast if capability >= 7 else "float32")
    cpu = _cpu_description()
    native = {"avx512_bf16", "amx_bf16"} & set(cpu.get("flags", "").split())
    model = cpu.get("model name") or platform.processor() or platform.machine()
    # What the last bits of a result depend on, beside the policy.
    name = ", ".join(filter(None, (model, _instruction_set(), f"{cores()} cores")))
    return Device("cpu", name, "mixed_bfloat16" if native else "float32")


def _instruction_set() -> str:
    """Name of the widest vector instructions that TensorFlow's kernels tell apart; "" if unknown."""
    flags = _cpu_description().get("flags", "").split()
    return next((each for each in INSTRUCTION_SETS if each in flags), "")


@contextmanager
def loading_tensorflow() -> Iterator[None]:
    """Wrap the first import of TensorFlow and Keras: no log lines, and no settings of this machine.

    Keras computes with TensorFlow whatever KERAS_BACKEND or a keras.json says. oneDNN's kernels are used
    unless TF_ENABLE_ONEDNN_OPTS is set: by default TensorFlow uses them on processors with AVX512_VNNI alone,
    but they are nearly twice as fast on others too. These variables are read once, during the import, and
    have their former values afterwards; XLA_FLAGS and TF_XLA_FLAGS are removed.
    """
    for name in XLA:
        flags = os.environ.pop(name, "").split()
        if allowed := [flag for flag in flags if flag.startswith(CUDA_FOLDER)]:
            os.environ[name] = " ".join(allowed)
    # Keras imports matplotlib, which fails if a notebook's backend isn't installed.
    theirs = [name for name in os.environ if name.startswith("KERAS_") or name == "MPLBACKEND"]
    before = {name: os.environ.pop(name) for name in theirs}
    ours = {"KERAS_BACKEND": "tensorflow", "KERAS_HOME": os.devnull, "MPLBACKEND": "agg"}
    if ONEDNN not in os.environ:
        ours[ONEDNN] = "1"
    os.environ.update(ours)
    try:
        with quiet_output():
            yield
    finally:
        for name in ours:
            os.environ.pop(name, None)
        os.environ.update(before)


def require_gpu() -> None:
    """Check that TensorFlow can train on a GPU.

    Raises:
        BadInput: it can't; the message lists the devices that it sees.
    """
    with loading_tensorflow():
        import tensorflow as tf

        seen = tf.config.list_physical_devices()
    if find_device().kind != "gpu" or not any(device.device_type == "GPU" for device in seen):
        names = ", ".join(device.name.removeprefix("/physical_device:") for device in seen)
        driver = "an NVIDIA" if shutil.which("nvidia-smi") else "no NVIDIA"
        raise BadInput(
            f"require_gpu = true, but TensorFlow sees only {names} ({driver} driver is installed); install "
            "relevo[gpu] beside a driver, or leave require_gpu out to train on the processor"
        )


def has_matrix_unit() -> bool:
    """Return whether the processor multiplies bfloat16 matrices in hardware (AMX)."""
    return "amx_bf16" in _cpu_description().get("flags", "").split()


def cores() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _cpu_description() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _nvidia() -> tuple[str, float] | None:
    """Name and compute capability of the first visible GPU; None without a driver or cuDNN."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible in {"", "-1"} or not shutil.which("nvidia-smi"):
        return None
    # TensorFlow's plain wheel has no cuDNN, without which it can't use a GPU.
    wheel = importlib.util.find_spec("nvidia") and importlib.util.find_spec("nvidia.cudnn")
    if not wheel and not ctypes.util.find_library("cudnn"):
        return None
    query = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    # nvidia-smi ignores CUDA_VISIBLE_DEVICES.
    query += [f"--id={visible.split(',')[0]}"] if visible else []
    try:
        answer = subprocess.run(
            query, capture_output=True, text=True, timeout=20, check=True
        ).stdout
        name, capability = answer.splitlines()[0].rsplit(",", 1)
        return name.strip(), float(capability)
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


@contextmanager
def quiet_output() -> Iterator[None]:
    """Discard what C++ libraries and child processes write to standard output and error.

    Exceptions still propagate; child processes started inside stay silent.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 1)
        os.dup2(null, 2)
        yield
    finally:
        for target, old in zip((1, 2), saved, strict=True):
            os.dup2(old, target)
            os.close(old)
        os.close(null)
