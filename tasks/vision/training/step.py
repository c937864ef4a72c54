"""The compiled part of training: one step on a batch, and the measure of a model.

A batch passes in parts, of which a processor's caches hold more: operations that only pass over memory
(activations, pooling, normalisation) are then faster. Gradients are summed over the parts; each is
normalised by its own statistics, as in ghost batch normalisation (Hoffer et al., arXiv 1705.08741, sec. 4).
Where several devices train, they take a part each at a time. A GPU takes several parts in one call, of
which starting the kernels is most.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tasks.vision.network import layers
from tasks.vision.network.distribution import accumulator, clear, distribute
from tasks.vision.network.networks import normalisations
from tasks.vision.network.xla_ops import gpu_compiles
from tasks.vision.training.optimizers import LossScale, Rule
from tasks.vision.training.state import Checkpointer, TrainingInterrupted

REFERENCE_BATCH = 2000
AT_ONCE = REFERENCE_BATCH * 32 * 32 * 3  # values that a GPU is given in one call, at most


def loss_of(logits: tf.Tensor, targets: tf.Tensor, smoothing: float) -> tf.Tensor:
    """Cross-entropy summed over the batch: binary for one output (target 0 is the positive class).

    Args:
        logits: (b, outputs) float32. targets: (b,) int32.
    """
    if logits.shape[-1] == 1:
        positive = tf.cast(targets == 0, tf.float32) * (1 - smoothing) + smoothing / 2
        each = tf.nn.sigmoid_cross_entropy_with_logits(positive, logits[:, 0])
    else:
        classes = logits.shape[-1]
        hot = tf.one_hot(targets, classes) * (1 - smoothing) + smoothing / classes
        each = tf.nn.softmax_cross_entropy_with_logits(hot, logits)
    return tf.reduce_sum(each)


def count_correct(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """How many of the batch are classified right (int32 scalar)."""
    if logits.shape[-1] == 1:
        guess = tf.cast(logits[:, 0] <= 0, tf.int32)
    else:
        guess = tf.argmax(logits, -1, output_type=tf.int32)
    return tf.reduce_sum(tf.cast(guess == targets, tf.int32))


class Steps:
    """What a fit asks of TensorFlow, compiled, for the devices of the strategy in whose scope it is made.

    Args:
        prior_shift: (outputs,) added to the logits that learn, and to none that are measured.
    """

    def __init__(
        self,
        model: keras.Model,
        rule: Rule,
        label_smoothing: float,
        prior_shift: np.ndarray | None = None,
    ) -> None:
        variables = model.trainable_variables
        sums = [accumulator(v.shape) for v in variables]
        learning = [layer for layer in normalisations(model) if layer.trainable]
        strategy = tf.distribute.get_strategy()
        factor = rule.factor if isinstance(rule, LossScale) else 1.0

        def accumulate_part(inputs: tf.Tensor, targets: tf.Tensor) -> Any:
            with tf.GradientTape() as tape:
                logits = model(tf.cast(inputs, model.input.dtype), training=True)
                if prior_shift is not None:
                    logits += prior_shift
                loss = loss_of(logits, targets, label_smoothing)
                scaled = loss * factor
            for total, gradient in zip(sums, tape.gradient(scaled, variables), strict=True):
                total.assign_add(gradient)
            return loss, count_correct(logits, targets)

        @tf.function  # once for each shape: layers choose their kernels by the images' size
        def accumulate(inputs: Any, targets: Any) -> Any:
            each = strategy.run(accumulate_part, (inputs, targets))
            return [strategy.reduce("SUM", value, axis=None) for value in each]

        @tf.function
        def update(size: tf.Tensor, progress: tf.Tensor) -> None:
            # The fast recipe's rates are for the sum over 2,000 images. The sum over a batch grows with
            # its size, its noise with the root of it: scale the steps like the noise.
            scale = (REFERENCE_BATCH / size) ** 0.5
            rule.apply([total * scale for total in sums], progress)
            clear(sums)
            for layer in learning:
                layer.learn_statistics(layer.momentum)

        @tf.function(reduce_retracing=True)
        def measure(inputs: tf.Tensor, targets: tf.Tensor) -> Any:
            logits = model(tf.cast(inputs, model.input.dtype), training=False)
            return loss_of(logits, targets, 0.0), count_correct(logits, targets)

        self._strategy = strategy
        self._accumulate, self._update, self._measure = accumulate, update, measure

    def learn(
        self,
        inputs: np.ndarray | tf.Tensor,
        targets: np.ndarray,
        progress: float,
        checkpointer: Checkpointer | None = None,
    ) -> tuple[float, int]:
        """One step on a batch: its summed loss, and how many of it were classified right.

        Args:
            inputs: (b, ...) uint8 images or float32 features. targets: (b,) int32.
            progress: share of the training that is over, 0 to 1.

        Raises:
            TrainingInterrupted: `checkpointer` said so within the batch, of which nothing is left in the model.
        """
        devices = self._strategy.num_replicas_in_sync
        parts = devices * max(1, round(len(targets) / (layers.PART * devices)))
        if gpu_compiles() and len(targets) % parts == 0:
            parts //= _together(parts // devices, math.prod(inputs.shape) // parts)
        x, y = _split(_widened(inputs), parts), _split(targets, parts)
        seen: list[tuple[tf.Tensor, tf.Tensor]] = []
        for start in range(0, parts, devices):
            if seen and checkpointer and checkpointer.stop():
                raise TrainingInterrupted
            turn = slice(start, start + devices)
            images, classes = (distribute(self._strategy, each[turn]) for each in (x, y))
            seen.append(self._accumulate(images, classes))
        self._update(tf.constant(len(targets), tf.float32), tf.constant(progress, tf.float32))
        return sum(float(loss) for loss, _ in seen), sum(int(right) for _, right in seen)

    def measure(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, int]:
        """Summed loss, and how many are classified right, of (n, ...) inputs; nothing is learnt."""
        loss, right = self._measure(_widened(inputs), tf.constant(targets))
        return float(loss), int(right)


def _together(parts: int, size: int) -> int:
    """How many of so many parts, of `size` values each, a GPU is given in one call; it divides them."""
    return max(n for n in range(1, parts + 1) if parts % n == 0 and (n == 1 or n * size <= AT_ONCE))


def _split(values: Any, parts: int) -> list[Any]:
    """An array or tensor in so many parts of sizes that differ by one at most."""
    least, more = divmod(len(values), parts)
    edges = [i * least + min(i, more) for i in range(parts + 1)]
    return [values[start:end] for start, end in pairwise(edges)]


def _widened(inputs: Any) -> Any:
    """Kept features as float32: oneDNN complains on standard error about the float16 they are kept in."""
    return inputs.astype(np.float32) if inputs.dtype == np.float16 else inputs
