"""Measurements of relevo for the other benchmarks: one process each, which prints one JSON line.

python tests/benchmarks/ours.py steps ARCHIVE --steps 8    throughput of training steps of ten_class
python tests/benchmarks/ours.py peak                       rate of a matrix product
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace

import numpy as np
from peer_images import read

from tasks.vision.device import Device, find_device, loading_tensorflow


def device_for(dtype: str) -> Device:
    """This machine's device with the precision `dtype` ("auto", "float32" or "bfloat16")."""
    policies = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
    found = find_device()
    return found if dtype == "auto" else replace(found, policy=policies[dtype])


def time_steps(archive: str, widths: list[int], batch: int, steps: int, dtype: str) -> dict:
    """Images per second over `steps` training steps, without the first, which builds the graph."""
    from tasks.vision.data.batches.targets import apply_scheme
    from tasks.vision.recipe.schema import Network, Stage

    with loading_tensorflow():
        from tasks.vision.data.batches.targets import Examples
        from tasks.vision.training.loop import MIN_STEPS
        from tasks.vision.training.stage import train_stage
        from tasks.vision.training.state import Progress

    images, labels, classes = read(archive, "train")
    # An epoch has at least MIN_STEPS steps: with fewer images, batches would be smaller.
    used = slice(0, batch * max(steps + 1, MIN_STEPS))
    train = Examples(images[used], labels[used].astype(np.int32))
    stage = Stage(
        network=Network(widths=tuple(widths)), batch_size=batch, epochs=1, label_smoothing=0.2
    )
    marks: list[float] = []

    def on_progress(progress: Progress) -> None:
        marks.append(time.monotonic())

    device = device_for(dtype)
    nothing = Examples(images[:batch], train.targets[:batch])
    train_stage(
        stage,
        apply_scheme(None, classes),
        train,
        nothing,
        seed=0,
        device=device,
        on_progress=on_progress,
    )
    took = marks[steps] - marks[0]
    return {"images_per_second": batch * steps / took, "device": str(device)}


def matrix_peak(dtype: str, seconds: float = 3.0) -> dict:
    """GFLOP/s of a square matrix product, the best within `seconds`."""
    with loading_tensorflow():
        import tensorflow as tf

        from tasks.vision.network.runtime import set_up

    device = device_for(dtype)
    set_up(device)
    size = 8192 if device.kind == "gpu" else 2048
    compute = "bfloat16" if device.policy == "mixed_bfloat16" else "float32"
    matrix = tf.cast(tf.random.stateless_normal((size, size), (0, 0)), compute)
    product = tf.function(lambda x: tf.matmul(x, x))
    best, end = float("inf"), time.monotonic() + seconds
    while time.monotonic() < end:
        clock = time.monotonic()
        product(matrix)[0, 0].numpy()
        best = min(best, time.monotonic() - clock)
    return {"gflops": 2 * size**3 / best / 1e9, "device": str(device)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["steps", "peak"])
    parser.add_argument("archive", nargs="?")
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 256, 256])
    parser.add_argument("--batch", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--dtype", choices=["auto", "float32", "bfloat16"], default="auto")
    given = parser.parse_args()
    if given.what == "peak":
        answer = matrix_peak(given.dtype)
    else:
        answer = time_steps(given.archive, given.widths, given.batch, given.steps, given.dtype)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
