"""Stock layers without weights: pooling, padding, activations, merging and reshaping."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from tasks.vision.pretrained.graph.layer import (
    MAX_ELEMENTS,
    ActivationName,
    Layer,
    Margin,
    Number,
    Padding,
    Pair,
    Setting,
    Shape,
    ShapeError,
    feature_map,
    single,
    windows,
)

Margins = tuple[tuple[Margin, Margin], tuple[Margin, Margin]]  # (top, bottom), (left, right)


class Pooling2D(Layer):
    kind: Literal["MaxPooling2D", "AveragePooling2D"]
    pool_size: Pair
    strides: Pair
    padding: Padding = "valid"

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        height, width, channels = feature_map(shapes)
        return (
            windows(height, self.pool_size[0], self.strides[0], self.padding),
            windows(width, self.pool_size[1], self.strides[1], self.padding),
            channels,
        )


class GlobalPooling2D(Layer):
    kind: Literal["GlobalAveragePooling2D", "GlobalMaxPooling2D"]
    keepdims: bool = False

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        channels = feature_map(shapes)[2]
        return (1, 1, channels) if self.keepdims else (channels,)


class ZeroPadding2D(Layer):
    kind: Literal["ZeroPadding2D"] = "ZeroPadding2D"
    padding: Margins

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        return _with_margins(shapes, self.padding, 1)


class Cropping2D(Layer):
    kind: Literal["Cropping2D"] = "Cropping2D"
    cropping: Margins

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        return _with_margins(shapes, self.cropping, -1)


def _with_margins(shapes: Sequence[Shape], margins: Margins, sign: int) -> Shape:
    (height, width, channels), (rows, columns) = feature_map(shapes), map(sum, margins)
    return (height + sign * rows, width + sign * columns, channels)


class UpSampling2D(Layer):
    kind: Literal["UpSampling2D"] = "UpSampling2D"
    size: Pair
    interpolation: Literal["nearest", "bilinear"] = "nearest"

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        height, width, channels = feature_map(shapes)
        return (height * self.size[0], width * self.size[1], channels)


class Resizing(Layer):
    kind: Literal["Resizing"] = "Resizing"
    height: Setting
    width: Setting
    interpolation: Literal["nearest", "bilinear", "bicubic", "area"] = "bilinear"

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        return (self.height, self.width, feature_map(shapes)[2])


class Rescaling(Layer):
    """x * scale + offset, each one number or one per channel; what arithmetic with constants becomes."""

    kind: Literal["Rescaling"] = "Rescaling"
    scale: tuple[Number, ...] = (1.0,)
    offset: tuple[Number, ...] = (0.0,)

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        shape = single(shapes)
        for name, numbers in (("scale", self.scale), ("offset", self.offset)):
            if len(numbers) not in (1, shape[-1]):
                raise ShapeError(f"has {len(numbers)} numbers as {name} for {shape[-1]} channels")
        return shape


class ReverseChannels(Layer):
    """RGB to BGR, as in the preprocessing of ResNet and VGG."""

    kind: Literal["ReverseChannels"] = "ReverseChannels"


class Activation(Layer):
    kind: Literal["Activation"] = "Activation"
    activation: ActivationName


class ReLU(Layer):
    kind: Literal["ReLU"] = "ReLU"
    max_value: Annotated[float, Field(ge=0, le=1e9)] | None = None
    negative_slope: Annotated[float, Field(ge=0, le=1e3)] = 0.0
    threshold: Annotated[float, Field(ge=0, le=1e9)] = 0.0


class ELU(Layer):
    kind: Literal["ELU"] = "ELU"
    alpha: Number = 1.0


class Merge(Layer):
    kind: Literal["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"]

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        if len(shapes) < 2 or (self.kind == "Subtract" and len(shapes) != 2):
            raise ShapeError(f"has {len(shapes)} inputs; expected two, or more where order is free")
        if len({len(shape) for shape in shapes}) != 1:
            raise ShapeError(f"has inputs {[list(shape) for shape in shapes]} of different rank")
        merged = tuple(max(sides) for sides in zip(*shapes, strict=True))
        for shape in shapes:
            if any(n not in (1, most) for n, most in zip(shape, merged, strict=True)):
                raise ShapeError(f"has inputs {[list(shape) for shape in shapes]}")
        return merged


class Concatenate(Layer):
    """Along the channels."""

    kind: Literal["Concatenate"] = "Concatenate"

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        if len({shape[:-1] for shape in shapes}) != 1:
            raise ShapeError(f"has inputs {[list(shape) for shape in shapes]}")
        return (*shapes[0][:-1], sum(shape[-1] for shape in shapes))


class Reshape(Layer):
    kind: Literal["Reshape"] = "Reshape"
    target_shape: tuple[Annotated[int, Field(ge=-1, le=MAX_ELEMENTS)], ...] = Field(
        min_length=1, max_length=4
    )

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        numbers = math.prod(single(shapes))
        known = math.prod(side for side in self.target_shape if side != -1)
        if self.target_shape.count(-1) > 1 or not known or numbers % known:
            raise ShapeError(f"can't make {list(self.target_shape)} of {list(shapes[0])}")
        target = tuple(numbers // known if side == -1 else side for side in self.target_shape)
        if math.prod(target) != numbers:
            raise ShapeError(f"can't make {list(self.target_shape)} of {list(shapes[0])}")
        return target


class Flatten(Layer):
    kind: Literal["Flatten"] = "Flatten"

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        return (math.prod(single(shapes)),)


class Permute(Layer):
    kind: Literal["Permute"] = "Permute"
    dims: tuple[Setting, ...] = Field(min_length=1, max_length=4)

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        shape = single(shapes)
        if sorted(self.dims) != list(range(1, len(shape) + 1)):
            raise ShapeError(f"has dims {list(self.dims)} for {list(shape)}")
        return tuple(shape[i - 1] for i in self.dims)
