"""The tensors that a network of some architecture has, computed without TensorFlow.

A model from a file is compared with them before the network is built: a forged card could ask for any
amount of memory. `network/networks.py` builds what is described here.
"""

from __future__ import annotations

from collections.abc import Iterator

from tasks.vision.recipe.schema import Network

GRID = 3  # features of every layer are means over a grid of so many fields per side
WHITENED = 24  # channels of the whitening layer
Shape = tuple[int, ...]


def tensor_shapes(
    network: Network, image_size: int, outputs: int, every_layer: bool
) -> dict[str, Shape]:
    """Return the shape of every tensor by its name `layer/variable`.

    >>> tensor_shapes(Network(widths=(8,)), 16, 1, False)["conv_1a/kernel"]
    (3, 3, 24, 8)
    """
    airbench = network.kind == "airbench"
    parts = list((_airbench if airbench else _simple_cnn)(network.widths, image_size))
    shapes = {name: shape for layer in parts for name, shape in layer[0].items()}
    last = network.widths[-1]
    if every_layer:
        last = sum(min(side, GRID) ** 2 * channels for _, side, channels in parts)
        shapes |= {f"standardise/moving_{each}": (last,) for each in ("mean", "variance")}
    shapes["head/kernel"] = (last, outputs)
    if every_layer or not airbench:
        shapes["head/bias"] = (outputs,)
    return shapes


# The tensors of a layer, and the side and channels of its activations.
Layer = tuple[dict[str, Shape], int, int]


def _airbench(widths: Shape, side: int) -> Iterator[Layer]:
    side, channels = side - 1, WHITENED
    yield {"whiten/kernel": (2, 2, 3, channels), "whiten/bias": (channels,)}, side, channels
    for block, width in enumerate(widths, 1):
        side //= 2
        for half in "ab":
            name = f"{block}{half}"
            tensors: dict[str, Shape] = {f"conv_{name}/kernel": (3, 3, channels, width)}
            for variable in ("beta", "moving_mean", "moving_variance"):
                tensors[f"norm_{name}/{variable}"] = (width,)
            yield tensors, side, width
            channels = width


def _simple_cnn(widths: Shape, side: int) -> Iterator[Layer]:
    *convolutions, dense = widths
    channels = 3
    for i, width in enumerate(convolutions, 1):
        side = side - 2 if i == 1 else side // 2 - 2
        name = f"act_conv_{i}"
        yield {f"{name}/kernel": (3, 3, channels, width), f"{name}/bias": (width,)}, side, width
        channels = width
    yield {"act_dense/kernel": (side**2 * channels, dense), "act_dense/bias": (dense,)}, 1, dense
