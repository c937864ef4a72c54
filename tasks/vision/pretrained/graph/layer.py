"""What every stock layer has in common: a name, inputs, and rules for the shapes of outputs and weights.

A shape is that of one image's activation, without the batch: (height, width, channels) or (features,).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Shape = tuple[int, ...]
MAX_SETTING = 4096  # of kernels, strides, paddings and the like; real ones stay far below
MAX_CHANNELS = 65_536
MAX_ELEMENTS = 1 << 25  # of one activation of one image: 128 MiB of float32
MAX_WINDOW = 64  # pixels of a side, where the input is smaller; else it would compute with zeros
MAX_NAME = 200

Setting = Annotated[int, Field(ge=1, le=MAX_SETTING)]
Margin = Annotated[int, Field(ge=0, le=MAX_SETTING)]
Channels = Annotated[int, Field(ge=1, le=MAX_CHANNELS)]
Number = Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)]
Epsilon = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Pair = tuple[Setting, Setting]
Padding = Literal["valid", "same"]
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
ActivationName = Literal[
    "linear", "relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "softplus",
    "softsign", "sigmoid", "hard_sigmoid", "hard_silu", "tanh", "exponential", "softmax",
]  # fmt: skip


class Frozen(BaseModel):
    """Refuses unknown keys, and values of another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ShapeError(ValueError):
    """A layer can't take inputs of such shapes; the message says what it expects."""


class Layer(Frozen):
    """One layer of a network. Its subclasses name Keras' stock layers and have their settings."""

    name: Name
    inputs: tuple[Name, ...] = Field(min_length=1, max_length=64)

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        """Return the shape of the output for inputs of such shapes.

        Raises:
            ShapeError: the layer can't take them.
        """
        (shape,) = shapes
        return shape

    def weight_shapes(self, shapes: Sequence[Shape]) -> dict[str, Shape]:
        """Return the shapes of the weights by their names in Keras, in the order of its files."""
        return {}


def single(shapes: Sequence[Shape]) -> Shape:
    """The shape of the only input."""
    if len(shapes) != 1:
        raise ShapeError(f"takes one input, has {len(shapes)}")
    return shapes[0]


def feature_map(shapes: Sequence[Shape]) -> tuple[int, int, int]:
    """Height, width and channels of the only input."""
    shape = single(shapes)
    if len(shape) != 3:
        raise ShapeError(f"takes (height, width, channels), has {list(shape)}")
    return shape[0], shape[1], shape[2]


def windows(side: int, window: int, stride: int, padding: Padding, dilation: int = 1) -> int:
    """Number of positions of a window along a side."""
    covered = dilation * (window - 1) + 1
    if covered > max(MAX_WINDOW, 2 * side):
        raise ShapeError(f"its window covers {covered} pixels, the input has {side}")
    if padding == "same":
        return -(-side // stride)
    if side < covered:
        raise ShapeError(f"its window covers {covered} pixels, the input has {side}")
    return (side - covered) // stride + 1


def check_elements(shape: Shape) -> Shape:
    """Return the shape; refuse one that is empty or too large.

    Raises:
        ShapeError: it is.
    """
    if not all(side >= 1 for side in shape) or math.prod(shape) > MAX_ELEMENTS:
        raise ShapeError(f"its output would be {list(shape)}; at most {MAX_ELEMENTS:,} numbers")
    return shape
