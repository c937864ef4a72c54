"""ScaledAdam for fine-tuning: steps relative to the weights' root mean square, smaller in earlier blocks.

Adam moves every weight by about the same amount. Weights that a network has learnt, with normalisation
folded into them, differ in size by orders of magnitude: steps in proportion to it change them all alike (Yao
et al., arXiv 2310.11230, sec. 3.5). Earlier blocks are more general and change less (Howard and Ruder,
arXiv 1801.06146, sec. 3.2). The rate warms up, then falls to zero along a cosine (Loshchilov and Hutter,
arXiv 1608.03983).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tasks.vision.pretrained.compute.tunable import TunableNetwork

RATE = 6e-4  # of the root mean square of a channel's weights, each step
PER_BLOCK = 0.5  # factor on the rate from one block to the one before it
WARM_UP = 0.1  # share of the steps
MOMENTS, EPSILON = (0.9, 0.98), 1e-8
LEAST = 0.1  # of a tensor's size, for channels with smaller weights; and LEAST_SIZE for a tensor of zeros
LEAST_SIZE = 1e-3


class ScaledAdam:
    """Optimizer of a pretrained network and its head, for gradients summed over micro-batches.

    Args:
        rate: factor on the learning rate.
    """

    def __init__(self, model: TunableNetwork, rate: float = 1.0) -> None:
        self._updates: list[tuple[Any, Any, Any, np.ndarray]] = []
        for layer in model.layers:
            for variable in layer.variables:
                first, second = (
                    tf.Variable(tf.zeros(variable.shape), trainable=False) for _ in MOMENTS
                )
                size = rate * RATE * PER_BLOCK**layer.depth * _size(np.array(variable))
                self._updates.append((variable, first, second, size.astype(np.float32)))
        self._step = tf.Variable(0.0, trainable=False)
        self.slots = [*(slot for _, *slots, _ in self._updates for slot in slots), self._step]

    def apply(self, gradients: Sequence[tf.Tensor], progress: tf.Tensor) -> None:
        """Update the weights; `progress` runs from 0 (first step) towards 1 (float32 scalar)."""
        decayed = 0.5 * (1 + tf.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP)))
        rate = tf.where(progress < WARM_UP, (progress + 0.01) / (WARM_UP + 0.01), decayed)
        step = self._step.assign_add(1.0)
        unbias = [1 - moment**step for moment in MOMENTS]
        for gradient, (variable, first, second, size) in zip(gradients, self._updates, strict=True):
            mean = first.assign(MOMENTS[0] * first + (1 - MOMENTS[0]) * gradient)
            square = second.assign(MOMENTS[1] * second + (1 - MOMENTS[1]) * gradient**2)
            direction = mean / unbias[0] / (tf.sqrt(square / unbias[1]) + EPSILON)
            variable.assign(tf.convert_to_tensor(variable) - rate * size * direction)


def _size(weights: np.ndarray) -> np.ndarray:
    """Root mean square of the weights of each channel, or of a vector's: broadcasts to their shape."""
    square = weights.astype(np.float64) ** 2
    whole = max(float(np.sqrt(square.mean())), LEAST_SIZE)
    if weights.ndim < 2:
        return np.full(1, whole)
    depthwise = weights.ndim == 4 and weights.shape[-1] == 1
    axes = tuple(range(weights.ndim - (2 if depthwise else 1)))
    return np.maximum(np.sqrt(square.mean(axes, keepdims=True)), LEAST * whole)
