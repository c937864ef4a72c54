"""Stock layers that have weights, with their names, shapes and order in Keras 3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from tasks.vision.pretrained.graph.layer import (
    ActivationName,
    Channels,
    Epsilon,
    Layer,
    Padding,
    Pair,
    Setting,
    Shape,
    ShapeError,
    feature_map,
    single,
    windows,
)

Multiplier = Annotated[int, Field(ge=1, le=64)]


class Windowed(Layer):
    """A convolution: a window that moves over the feature map."""

    kernel_size: Pair
    strides: Pair = (1, 1)
    padding: Padding = "valid"
    dilation_rate: Pair = (1, 1)
    activation: ActivationName = "linear"
    use_bias: bool = True

    def map_shape(self, shapes: Sequence[Shape], channels: int) -> Shape:
        """(height, width, `channels`) of the output."""
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ShapeError("has both strides and dilation_rate above 1")
        height, width, _ = feature_map(shapes)
        return (
            *(
                windows(side, window, stride, self.padding, dilation)
                for side, window, stride, dilation in zip(
                    (height, width), self.kernel_size, self.strides, self.dilation_rate, strict=True
                )
            ),
            channels,
        )


class Conv2D(Windowed):
    kind: Literal["Conv2D"] = "Conv2D"
    filters: Channels
    groups: Channels = 1

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        return self.map_shape(shapes, self.filters)

    def weight_shapes(self, shapes: Sequence[Shape]) -> dict[str, Shape]:
        channels = feature_map(shapes)[2]
        if channels % self.groups or self.filters % self.groups:
            raise ShapeError(
                f"has {self.groups} groups of {channels} channels and {self.filters} filters"
            )
        weights: dict[str, Shape] = {
            "kernel": (*self.kernel_size, channels // self.groups, self.filters)
        }
        return weights | ({"bias": (self.filters,)} if self.use_bias else {})


class DepthwiseConv2D(Windowed):
    kind: Literal["DepthwiseConv2D"] = "DepthwiseConv2D"
    depth_multiplier: Multiplier = 1

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        _equal_strides(self.strides)
        return self.map_shape(shapes, feature_map(shapes)[2] * self.depth_multiplier)

    def weight_shapes(self, shapes: Sequence[Shape]) -> dict[str, Shape]:
        channels = feature_map(shapes)[2]
        weights: dict[str, Shape] = {"kernel": (*self.kernel_size, channels, self.depth_multiplier)}
        return weights | ({"bias": (channels * self.depth_multiplier,)} if self.use_bias else {})


class SeparableConv2D(Windowed):
    kind: Literal["SeparableConv2D"] = "SeparableConv2D"
    filters: Channels
    depth_multiplier: Multiplier = 1

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        _equal_strides(self.strides)
        return self.map_shape(shapes, self.filters)

    def weight_shapes(self, shapes: Sequence[Shape]) -> dict[str, Shape]:
        channels = feature_map(shapes)[2]
        weights: dict[str, Shape] = {
            "depthwise_kernel": (*self.kernel_size, channels, self.depth_multiplier),
            "pointwise_kernel": (1, 1, channels * self.depth_multiplier, self.filters),
        }
        return weights | ({"bias": (self.filters,)} if self.use_bias else {})


def _equal_strides(strides: Pair) -> None:
    if strides[0] != strides[1]:  # TensorFlow has no other kernel
        raise ShapeError(f"has strides {list(strides)}; expected two equal ones")


class Dense(Layer):
    kind: Literal["Dense"] = "Dense"
    units: Channels
    activation: ActivationName = "linear"
    use_bias: bool = True

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        return (*single(shapes)[:-1], self.units)

    def weight_shapes(self, shapes: Sequence[Shape]) -> dict[str, Shape]:
        weights: dict[str, Shape] = {"kernel": (single(shapes)[-1], self.units)}
        return weights | ({"bias": (self.units,)} if self.use_bias else {})


class Normalizing(Layer):
    """A normalisation over or of the last axis, with one weight per channel."""

    epsilon: Epsilon = 1e-3
    center: bool = True
    scale: bool = True

    def weight_shapes(self, shapes: Sequence[Shape]) -> dict[str, Shape]:
        names = ["gamma"] * self.scale + ["beta"] * self.center
        return {name: single(shapes)[-1:] for name in names}


class BatchNormalization(Normalizing):
    kind: Literal["BatchNormalization"] = "BatchNormalization"
    momentum: Annotated[float, Field(ge=0, le=1)] = 0.99

    def weight_shapes(self, shapes: Sequence[Shape]) -> dict[str, Shape]:
        channels = single(shapes)[-1:]
        moving: dict[str, Shape] = {"moving_mean": channels, "moving_variance": channels}
        return super().weight_shapes(shapes) | moving


class LayerNormalization(Normalizing):
    kind: Literal["LayerNormalization"] = "LayerNormalization"


class GroupNormalization(Normalizing):
    kind: Literal["GroupNormalization"] = "GroupNormalization"
    groups: Setting = 32

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        shape = single(shapes)
        if shape[-1] % self.groups:
            raise ShapeError(f"has {self.groups} groups for {shape[-1]} channels")
        return shape


class Normalization(Layer):
    """(x - mean) / sqrt(variance), by channel: statistics of pixels that the network was adapted to."""

    kind: Literal["Normalization"] = "Normalization"

    def weight_shapes(self, shapes: Sequence[Shape]) -> dict[str, Shape]:
        channels = single(shapes)[-1:]
        return {"mean": channels, "variance": channels}


class LayerScale(Layer):
    """One factor per channel (keras.applications' ConvNeXt)."""

    kind: Literal["LayerScale"] = "LayerScale"

    def weight_shapes(self, shapes: Sequence[Shape]) -> dict[str, Shape]:
        return {"gamma": single(shapes)[-1:]}


class PReLU(Layer):
    kind: Literal["PReLU"] = "PReLU"
    shared_axes: tuple[Setting, ...] = ()

    def weight_shapes(self, shapes: Sequence[Shape]) -> dict[str, Shape]:
        shape = single(shapes)
        return {
            "alpha": tuple(1 if i in self.shared_axes else n for i, n in enumerate(shape, start=1))
        }
