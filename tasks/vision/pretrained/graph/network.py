"""A pretrained network as plain data: its layers, its weights and their digest. No TensorFlow.

Its graph takes square RGB images of values 0 to 255: all preprocessing is among its layers, since a file has no
other record of how pixels are scaled.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from tasks.vision.errors import BadInput
from tasks.vision.pretrained.graph import plain_layers as plain
from tasks.vision.pretrained.graph import weighted_layers as weighted
from tasks.vision.pretrained.graph.layer import (
    Frozen,
    Layer,
    Name,
    Setting,
    Shape,
    ShapeError,
    check_elements,
)
from tasks.vision.text import printable
from tasks.vision.trained_model import Tensors, digest

LayerConfig = Annotated[
    weighted.Conv2D
    | weighted.DepthwiseConv2D
    | weighted.SeparableConv2D
    | weighted.Dense
    | weighted.BatchNormalization
    | weighted.LayerNormalization
    | weighted.GroupNormalization
    | weighted.Normalization
    | weighted.LayerScale
    | weighted.PReLU
    | plain.Pooling2D
    | plain.GlobalPooling2D
    | plain.ZeroPadding2D
    | plain.Cropping2D
    | plain.UpSampling2D
    | plain.Resizing
    | plain.Rescaling
    | plain.ReverseChannels
    | plain.Activation
    | plain.ReLU
    | plain.ELU
    | plain.Merge
    | plain.Concatenate
    | plain.Reshape
    | plain.Flatten
    | plain.Permute,
    Field(discriminator="kind"),
]
# What may follow a classification head; a binary one is completed by its opposite.
AFTER_HEAD = (plain.Activation, plain.Flatten, plain.Reshape, plain.Rescaling, plain.Concatenate)
ANSWERS = ("linear", "softmax", "sigmoid")
MAX_LAYERS = 4000
MAX_TOTAL = 1 << 30  # numbers in all activations of one image
SMALLEST = 32  # pixels per side; smaller only where the file itself is
LARGEST = 1024
DEFAULT_SIZE = 224  # where a file leaves the size open


class NetworkConfig(Frozen):
    """A network of stock layers, each after its inputs; `model_dump_json()` is its canonical form.

    Attributes:
        input: name of the images among the inputs. input_size: (height, width) of the file, None where it
            takes any. output: the layer whose output is the network's.
    """

    name: Name
    input: Name
    input_size: tuple[Setting, Setting] | None
    layers: tuple[LayerConfig, ...] = Field(min_length=1, max_length=MAX_LAYERS)
    output: Name

    @model_validator(mode="after")
    def _layers_follow_their_inputs(self) -> NetworkConfig:
        known = {self.input}
        for layer in self.layers:
            if layer.name in known:
                raise ValueError(f"two layers are named {layer.name!r}")
            if missing := [name for name in layer.inputs if name not in known]:
                raise ValueError(f"layer {layer.name!r} comes before its input {missing[0]!r}")
            known.add(layer.name)
        if self.output not in known - {self.input}:
            raise ValueError(f"its output {self.output!r} is not there")
        return self

    def shapes(self, size: int) -> dict[str, Shape]:
        """Return the shape of every layer's output for images of `size` pixels per side.

        Raises:
            BadInput: a layer can't take them.
        """
        shapes: dict[str, Shape] = {self.input: (size, size, 3)}
        total = 0
        for layer in self.layers:
            try:
                shape = layer.output_shape([shapes[name] for name in layer.inputs])
                shapes[layer.name] = check_elements(shape)
                if (total := total + math.prod(shape)) > MAX_TOTAL:
                    raise ShapeError(f"brings all outputs to more than {MAX_TOTAL:,} numbers")
            except ShapeError as error:
                raise self._unfit(layer, size, error) from None
        return shapes

    def tensor_shapes(self, size: int) -> dict[str, Shape]:
        """Return the shape of every tensor by its name `layer/weight`, built for images of `size`.

        Raises:
            BadInput: a layer can't take them.
        """
        shapes = self.shapes(size)
        found: dict[str, Shape] = {}
        for layer in self.layers:
            try:
                weights = layer.weight_shapes([shapes[name] for name in layer.inputs])
            except ShapeError as error:
                raise self._unfit(layer, size, error) from None
            found |= {f"{layer.name}/{weight}": shape for weight, shape in weights.items()}
        return found

    def _unfit(self, layer: Layer, size: int, error: ShapeError) -> BadInput:
        return BadInput(
            f"network {printable(self.name)}: layer {printable(layer.name)!r} can't take images of "
            f"{size} x {size} pixels: it {error}"
        )


def needed_layers(layers: Sequence[LayerConfig], *outputs: str) -> tuple[LayerConfig, ...]:
    """Return the layers that the activations `outputs` are computed from, their own included, in order."""
    needed = set(outputs)
    for layer in reversed(layers):
        if layer.name in needed:
            needed |= set(layer.inputs)
    return tuple(layer for layer in layers if layer.name in needed)


@dataclass(frozen=True)
class PretrainedNetwork:
    """A network and its weights, checked against each other.

    Attributes:
        tensors: float32 arrays by name, `layer/weight` with the weight's name in Keras ("stem/kernel").

    Raises:
        BadInput: other tensors than the network has, or of another shape or dtype.
    """

    config: NetworkConfig
    tensors: Tensors

    def __post_init__(self) -> None:
        expected = self.config.tensor_shapes(self.size)
        for name in sorted(expected.keys() | self.tensors.keys()):
            value = self.tensors.get(name)
            if value is None or name not in expected:
                have = "has no" if value is None else "has an unknown"
                raise BadInput(f"network {self.config.name}: it {have} tensor {name!r}")
            if value.shape != expected[name] or value.dtype != np.float32:
                raise BadInput(
                    f"network {self.config.name}: tensor {name!r} is {value.dtype}{list(value.shape)}, "
                    f"expected float32{list(expected[name])}"
                )

    @property
    def size(self) -> int:
        """Pixels per side of the images that it was made for; 224 where the file leaves it open."""
        return self.config.input_size[0] if self.config.input_size else DEFAULT_SIZE

    @cached_property
    def digest(self) -> str:
        """`sha256:...` over the canonical config and names, shapes and bytes of the tensors."""
        sha = hashlib.sha256(f"{self.config.model_dump_json()}\0{digest(self.tensors)}".encode())
        return f"sha256:{sha.hexdigest()}"

    @property
    def classes(self) -> int | None:
        """Number of its answers, if it ends in a classification head; else None."""
        return self.config.shapes(self.size)[self.config.output][-1] if self.head else None

    @cached_property
    def head(self) -> str | None:
        """Name of the classification head; None if there is none.

        It is the only layer with weights that the output is computed from by activations and reshaping, if it
        is a Dense layer, or a convolution of a 1 x 1 map (MobileNet v1 and v3), and the output is flat.
        """
        layers = {layer.name: layer for layer in self.config.layers}
        shapes = self.config.shapes(self.size)
        ends, waiting = set(), [self.config.output]
        while waiting:
            layer = layers.get(name := waiting.pop())
            if isinstance(layer, AFTER_HEAD):
                waiting += layer.inputs
            else:
                ends.add(name)
        head = layers.get(next(iter(ends)))
        if len(ends) != 1 or head is None or len(shapes[self.config.output]) != 1:
            return None
        if not isinstance(head, weighted.Dense | weighted.Conv2D) or head.activation not in ANSWERS:
            return None  # an embedding
        flat = isinstance(head, weighted.Dense) or shapes[head.inputs[0]][:-1] == (1, 1)
        return head.name if flat else None

    def takes(self, size: int) -> bool:
        """Whether it can be built for images of `size` pixels per side with the same weights."""
        if size != self.size and not SMALLEST <= size <= LARGEST:
            return False
        try:
            now, then = self.config.tensor_shapes(size), self.config.tensor_shapes(self.size)
        except BadInput:
            return False
        return now == then

    def check_size(self, size: int) -> None:
        """Refuse a size that it can't take.

        Raises:
            BadInput: it can't; the message names sizes that it can.
        """
        if not self.takes(size):
            least = self.least_size
            range_ = f"{least} to {LARGEST}" if self.takes(LARGEST) else f"{least}"
            raise BadInput(
                f"network {printable(self.config.name)} can't take images of {size} x {size} pixels; "
                f"set image_size to {self.size}, or try {range_}"
            )

    @cached_property
    def least_size(self) -> int:
        """Fewest pixels per side that it can take."""
        sizes = range(min(SMALLEST, self.size), self.size + 1)
        return next(size for size in sizes if self.takes(size))
