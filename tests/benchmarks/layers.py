"""Profile a training step: forward and backward time of each layer of the fast network.

python tests/benchmarks/layers.py [--widths 64 256 256] [--batch 500] [--rounds 9]
Uses the device and precision that relevo trains with on this machine. Prints medians, in the network's order.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from rich.table import Table
from turns import show

from tasks.vision.device import find_device, loading_tensorflow
from tasks.vision.recipe.schema import Network

with loading_tensorflow():
    import keras
    import tensorflow as tf

    from tasks.vision.network.networks import build
    from tasks.vision.network.runtime import set_up


def milliseconds(work: Callable[[], Any], rounds: int) -> float:
    """Median time of a call, including the GPU's work."""

    def once() -> float:
        clock = time.monotonic()
        for result in tf.nest.flatten(work()):
            tf.reshape(result, (-1,))[0].numpy()
        return 1000 * (time.monotonic() - clock)

    once()  # builds the graph
    once()  # and chooses kernels
    return median(once() for _ in range(rounds))


def time_layer(
    layer: keras.Layer, inputs: tf.Tensor, input_gradient: bool, rounds: int
) -> tuple[float, float]:
    """Milliseconds of a layer's forward and backward pass, the latter with or without its inputs' gradient."""
    trainable = [variable.value for variable in layer.trainable_variables]
    upstream = tf.ones_like(layer(inputs, training=True))
    sources = trainable + [inputs] * input_gradient

    @tf.function
    def forward() -> tf.Tensor:
        return layer(inputs, training=True)

    @tf.function
    def both() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(sources)
            result = layer(inputs, training=True)
        return [result, *tape.gradient(result, sources, upstream)]

    alone = milliseconds(forward, rounds)
    return alone, max(0.0, milliseconds(both, rounds) - alone) if sources else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 256, 256])
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    device = find_device()
    set_up(device)
    model = build(Network(widths=tuple(given.widths)), 32, 10, [0.5] * 3, [0.25] * 3)
    noise = tf.random.stateless_uniform((given.batch, 32, 32, 3), (0, 0), 0, 256, tf.int32)
    x = tf.cast(noise, tf.uint8)
    rows = []
    trained = False  # no input gradient is needed before the first trainable layer
    for layer in model.layers[1:]:
        times = time_layer(layer, x, trained, given.rounds)
        rows.append((layer.name, tuple(x.shape[1:]), *times))
        trained = trained or bool(layer.trainable_variables)
        x = layer(x, training=True)
    total = sum(forward + backward for *_, forward, backward in rows)
    table = Table(
        *("layer", "input", "forward, ms", "backward, ms", "share"),
        title=f"{device}; widths {given.widths}, {given.batch} images",
        caption=f"together {total:.1f} ms: {1000 * given.batch / total:.0f} images a second",
    )
    for name, shape, forward, backward in rows:
        size, share = "x".join(map(str, shape)), (forward + backward) / total
        table.add_row(name, size, f"{forward:.2f}", f"{backward:.2f}", f"{100 * share:.1f} %")
    show(table)


if __name__ == "__main__":
    main()
