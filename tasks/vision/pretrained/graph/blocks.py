"""The blocks of a pretrained network: its layers by the scale of their feature maps. No TensorFlow."""

from __future__ import annotations

import math

from tasks.vision.errors import BadInput
from tasks.vision.pretrained.graph.network import PretrainedNetwork
from tasks.vision.text import printable


def blocks(network: PretrainedNetwork) -> dict[str, int]:
    """Return the block of every layer with weights, counted from 0.

    A block ends where the feature maps shrink by about half; layers without a map belong to the last.
    """
    shapes = network.config.shapes(network.size)
    weighted = {name.rpartition("/")[0] for name in network.tensors}
    scales = {
        name: round(math.log2(network.size / shapes[name][0]))
        for name in weighted
        if len(shapes[name]) == 3
    }
    order = sorted(set(scales.values()))
    last = max(len(order) - 1, 0)
    return {name: order.index(scales[name]) if name in scales else last for name in weighted}


def check_frozen_blocks(name: str, network: PretrainedNetwork, frozen: int) -> None:
    """Refuse to freeze all blocks of the network that the stage called `name` fine-tunes.

    Raises:
        BadInput: it has no more blocks than that.
    """
    if frozen > (most := max(blocks(network).values(), default=0)):
        raise BadInput(
            f"stages.{name}.frozen_blocks = {frozen}: the network {printable(network.config.name)} can "
            f"keep {most} of its blocks frozen; train = 'head' freezes all of them"
        )
