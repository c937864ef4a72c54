"""What a training step spends its time on: each layer of the fast network alone, there and back.

python tests/benchmarks/layers.py [--widths 64 256 256] [--batch 500] [--rounds 9]
On whatever device relevo trains on here, in its numbers. Medians, in the network's order.
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
    """The median time of one call; a GPU is waited for."""

    def once() -> float:
        clock = time.monotonic()
        for result in tf.nest.flatten(work()):
            tf.reshape(result, (-1,))[0].numpy()
        return 1000 * (time.monotonic() - clock)

    once()  # builds the graph
    once()  # and chooses kernels
    return median(once() for _ in range(rounds))


def there_and_back(
    layer: keras.Layer, inputs: tf.Tensor, hand_down: bool, rounds: int
) -> tuple[float, float]:
    """Milliseconds of a layer's result, and of its gradients beside; its inputs' if `hand_down`."""
    learning = [variable.value for variable in layer.trainable_variables]
    above = tf.ones_like(layer(inputs, training=True))
    wanted = learning + [inputs] * hand_down

    @tf.function
    def forward() -> tf.Tensor:
        return layer(inputs, training=True)

    @tf.function
    def both() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(wanted)
            result = layer(inputs, training=True)
        return [result, *tape.gradient(result, wanted, above)]

    there = milliseconds(forward, rounds)
    return there, max(0.0, milliseconds(both, rounds) - there) if wanted else 0.0


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
    learnt = False  # nobody asks for gradients of what no layer before has learnt
    for layer in model.layers[1:]:
        times = there_and_back(layer, x, learnt, given.rounds)
        rows.append((layer.name, tuple(x.shape[1:]), *times))
        learnt = learnt or bool(layer.trainable_variables)
        x = layer(x, training=True)
    total = sum(there + back for *_, there, back in rows)
    table = Table(
        *("layer", "takes", "forward, ms", "backward, ms", "share"),
        title=f"{device}; widths {given.widths}, {given.batch} images",
        caption=f"together {total:.1f} ms: {1000 * given.batch / total:.0f} images a second",
    )
    for name, shape, there, back in rows:
        size = "x".join(map(str, shape))
        table.add_row(
            name, size, f"{there:.2f}", f"{back:.2f}", f"{100 * (there + back) / total:.1f} %"
        )
    show(table)


if __name__ == "__main__":
    main()
