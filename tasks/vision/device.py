"""What this machine computes with, found without importing TensorFlow or hearing its libraries."""

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


@dataclass(frozen=True)
class Device:
    """Where training runs.

    Attributes:
        kind: "cpu" or "gpu". name: the processor's or GPU's own name.
        policy: Keras' dtype policy, "float32", "mixed_bfloat16" or "mixed_float16".
    """

    kind: str
    name: str
    policy: str

    @property
    def in_float32(self) -> Device:
        """The same, computing in float32 all through."""
        return replace(self, policy="float32")

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}, {self.policy.removeprefix('mixed_')}"


@cache
def find_device() -> Device:
    """The GPU that the driver offers, else the processor, with the numbers that it computes natively.

    bfloat16 where there is hardware for it (AVX512_BF16 or AMX; compute capability 8.0 up), float16
    on GPUs with tensor cores before that (7.0), float32 elsewhere: emulated bfloat16 is many times slower.
    """
    found = _nvidia()
    if found:
        name, capability = found
        policy = (
            "mixed_bfloat16"
            if capability >= 8
            else "mixed_float16"
            if capability >= 7
            else "float32"
        )
        return Device("gpu", name, policy)
    cpu = _cpu_description()
    native = {"avx512_bf16", "amx_bf16"} & set(cpu.get("flags", "").split())
    name = f"{cpu.get('model name') or platform.processor() or platform.machine()}, {cores()} cores"
    return Device("cpu", name, "mixed_bfloat16" if native else "float32")


@contextmanager
def loading_tensorflow() -> Iterator[None]:
    """Around whatever imports TensorFlow first: it comes quietly, and with oneDNN's kernels.

    It leaves them off on processors without AVX512_VNNI or newer, where they are nearly twice as fast,
    too; and it looks once, when it is imported.
    """
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
    with quiet_output():
        yield


def require_gpu() -> None:
    """Make sure that TensorFlow can train on a GPU.

    Raises:
        BadInput: it can't; the message says what it saw.
    """
    with loading_tensorflow():
        import tensorflow as tf

        seen = tf.config.list_physical_devices()
    if find_device().kind != "gpu" or not any(device.device_type == "GPU" for device in seen):
        names = ", ".join(device.name.removeprefix("/physical_device:") for device in seen)
        driver = "an NVIDIA driver is there" if shutil.which("nvidia-smi") else "no NVIDIA driver"
        raise BadInput(
            f"require_gpu = true, and TensorFlow sees {names} alone ({driver}); install relevo[gpu] "
            "beside a driver, or leave require_gpu out to train on the processor"
        )


def has_matrix_unit() -> bool:
    """Whether the processor multiplies bfloat16 matrices in hardware (AMX)."""
    return "amx_bf16" in _cpu_description().get("flags", "").split()


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _cpu_description() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _nvidia() -> tuple[str, float] | None:
    """Name and compute capability of the first visible GPU; None without a driver or CUDA's libraries."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible in {"", "-1"} or not shutil.which("nvidia-smi"):
        return None
    # The plain wheel brings no cuDNN: a GPU that TensorFlow can't use does not count.
    wheel = importlib.util.find_spec("nvidia") and importlib.util.find_spec("nvidia.cudnn")
    if not wheel and not ctypes.util.find_library("cudnn"):
        return None
    query = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    # The driver's own tool lists GPUs that this process may not use.
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
    """Send what C++ libraries and child processes write to standard output and error nowhere.

    What fails inside still raises; processes started inside keep their silence.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield
    finally:
        for target, old in zip((1, 2), kept, strict=True):
            os.dup2(old, target)
            os.close(old)
        os.close(nowhere)
