"""Operations between layers in a Keras graph: `x / 127.5 - 1`, `x + y`, `keras.ops.relu(x)`, RGB to BGR.

keras.applications' own preprocessing functions and MobileNet v3 are made of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.vision.pretrained.readers.keras_entries import Argument, Channel, Entry, Tensor
from tasks.vision.pretrained.readers.keras_settings import Refused, Translated, numbers

if TYPE_CHECKING:
    from tasks.vision.pretrained.readers.keras_graph import Graph

ACTIVATIONS = {
    "Relu": "relu", "Relu6": "relu6", "Sigmoid": "sigmoid", "HardSigmoid": "hard_sigmoid", "Tanh": "tanh",
    "Silu": "silu", "HardSilu": "hard_silu", "HardSwish": "hard_silu", "Swish": "silu",
}  # fmt: skip
MERGES = {"Add", "Subtract", "Multiply"}
ARITHMETIC = {*MERGES, "TrueDivide", "Divide"}
ELLIPSIS = "__ellipsis__"


def operation(graph: Graph, entry: Entry, arguments: list[Argument], scope: str) -> Tensor:
    """Add an operation as the stock layer that does the same; return what stands for its output.

    Raises:
        Refused: it is another operation, or has other arguments.
    """
    activations = [each for each in arguments if isinstance(each, str)]
    if entry.kind in ARITHMETIC and len(arguments) == 2:
        if len(activations) == 2 and entry.kind in MERGES:
            merge = Translated(entry.kind, {})
            return graph.add(merge, entry.name, scope, activations)
        if len(activations) == 1:
            settings = _rescaling(entry.kind, arguments)
            return graph.add(Translated("Rescaling", settings), entry.name, scope, activations)
    if entry.kind in ACTIVATIONS and len(arguments) == len(activations) == 1:
        settings = {"activation": ACTIVATIONS[entry.kind]}
        return graph.add(Translated("Activation", settings), entry.name, scope, activations)
    if entry.kind == "GetItem" and len(activations) == 1:
        return _channel(graph, activations[0], arguments[1:])
    if entry.kind == "Stack" and entry.settings.get("axis") == -1:
        return _stacked(graph, entry, arguments, scope)
    raise Refused("is an operation that relevo doesn't rebuild; use a layer for it")


def _rescaling(kind: str, arguments: list[Argument]) -> dict[str, object]:
    """x * scale + offset for arithmetic of an activation with numbers."""
    first = not isinstance(arguments[0], str)
    constants = numbers(arguments[0] if first else arguments[1])
    if not all(isinstance(n, int | float) and not isinstance(n, bool) for n in constants):
        raise Refused("computes with something other than numbers")
    values = [float(n) for n in constants if isinstance(n, int | float)]
    if kind == "Add":
        return {"offset": values}
    if kind == "Multiply":
        return {"scale": values}
    if kind == "Subtract":
        return {"scale": [-1.0], "offset": values} if first else {"offset": [-n for n in values]}
    if first or not all(values):
        raise Refused("divides by an activation or by zero")
    return {"scale": [1 / n for n in values]}


def _channel(graph: Graph, source: str, index: list[Argument]) -> Tensor:
    """x[..., i] of the images."""
    (where,) = index if len(index) == 1 else (None,)
    if isinstance(where, list) and len(where) == 2 and len(graph.shapes[source]) == 3:
        first, number = where
        dots = isinstance(first, dict) and first.get("class_name") == ELLIPSIS
        if dots and type(number) is int and 0 <= number < graph.shapes[source][2]:
            return Channel(source, number)
    raise Refused("takes a part of an activation; only the channels of an image are rebuilt")


def _stacked(graph: Graph, entry: Entry, arguments: list[Argument], scope: str) -> Tensor:
    """Channels 2, 1, 0 of one activation: RGB to BGR."""
    channels = [each for each in arguments if isinstance(each, Channel)]
    sources = {each.source for each in channels}
    if len(channels) == len(arguments) and len(sources) == 1:
        (source,) = sources
        if [each.number for each in channels] == list(reversed(range(graph.shapes[source][2]))):
            return graph.add(Translated("ReverseChannels", {}), entry.name, scope, [source])
    raise Refused("stacks activations; only RGB to BGR is rebuilt")
