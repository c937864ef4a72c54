"""The compiled part of training: one step on a batch, and the scores of a model on another.

A batch is processed in micro-batches, which fit better into a processor's caches: operations that
are limited by memory (activations, pooling, normalisation) are then faster. Gradients are summed
over them; each is normalised by its own statistics, as in ghost batch normalisation (Hoffer et al.,
arXiv 1705.08741, sec. 4). Several devices take one micro-batch each at a time. A GPU takes several
in one call, since starting its kernels costs most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tasks.vision.network import layers
from tasks.vision.network.distribution import (
    accumulator,
    distribute,
    reset,
    this_machine,
    totals,
)
from tasks.vision.network.networks import batch_norm_layers
from tasks.vision.network.xla_ops import gpu_compiles
from tasks.vision.training.optimizers import LossScaling, Optimizer
from tasks.vision.training.state import Checkpointer, TrainingInterrupted

REFERENCE_BATCH = 2000
VALUES_PER_CALL = REFERENCE_BATCH * 32 * 32 * 3  # of a GPU's input, at most


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
    """Number of correct predictions in the batch (int32 scalar)."""
    if logits.shape[-1] == 1:
        predicted = tf.cast(logits[:, 0] <= 0, tf.int32)
    else:
        predicted = tf.argmax(logits, -1, output_type=tf.int32)
    return tf.reduce_sum(tf.cast(predicted == targets, tf.int32))


class BatchResult(NamedTuple):
    """Of a batch, on all machines.

    Attributes:
        loss: summed over the images. correct: the number of correct predictions.
        stopping: one of several machines was asked to stop before the batch ended.
    """

    loss: float
    correct: int
    stopping: bool = False


class TrainStep:
    """Training and evaluation of one batch, compiled for the devices of the current strategy's scope.

    Args:
        prior_shift: (outputs,) added to the logits in training, not in evaluation.
        micro_batch: images in a micro-batch; None for as many as batch normalisation takes together.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: Optimizer,
        label_smoothing: float,
        prior_shift: np.ndarray | None = None,
        micro_batch: int | None = None,
    ) -> None:
        variables = model.trainable_variables
        sums = [accumulator(v.shape) for v in variables]
        trainable = [layer for layer in batch_norm_layers(model) if layer.trainable]
        statistics = [each for layer in trainable for each in layer.sums]
        strategy = tf.distribute.get_strategy()
        factor = optimizer.factor if isinstance(optimizer, LossScaling) else 1.0

        def accumulate_on_device(inputs: tf.Tensor, targets: tf.Tensor) -> Any:
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
            each = strategy.run(accumulate_on_device, (inputs, targets))
            return [tf.add_n(strategy.experimental_local_results(value)) for value in each]

        @tf.function
        def update(size: tf.Tensor, progress: tf.Tensor, own: tf.Tensor) -> tf.Tensor:
            # The learning rates are for the sum over 2,000 images. The sum over a batch grows with
            # its size, its noise with the root of it: scale the steps like the noise.
            scale = (REFERENCE_BATCH / size) ** 0.5
            *all_sums, own_total = totals([*sums, *statistics], own)
            found = iter(all_sums)
            optimizer.apply([next(found) * scale for _ in sums], progress)
            reset(sums)
            for layer in trainable:
                layer.update_statistics([next(found) for _ in layer.sums], layer.momentum)
            return own_total

        @tf.function(reduce_retracing=True)
        def evaluate(inputs: tf.Tensor, targets: tf.Tensor) -> Any:
            logits = model(tf.cast(inputs, model.input.dtype), training=False)
            return loss_of(logits, targets, 0.0), count_correct(logits, targets)

        self._strategy, self._micro_batch = strategy, micro_batch
        self._accumulate, self._update, self._evaluate = accumulate, update, evaluate

    def train_batch(
        self,
        inputs: np.ndarray | tf.Tensor,
        targets: np.ndarray,
        progress: float,
        checkpointer: Checkpointer | None = None,
        whole: int | None = None,
    ) -> BatchResult:
        """Train on a batch.

        Args:
            inputs: (b, ...) uint8 images or float32 features, of several machines this one's part.
            targets: (b,) int32.
            progress: share of the training that is done, 0 to 1.
            whole: number of images of the batch on all machines, if there are several.

        Raises:
            TrainingInterrupted: `checkpointer` asked for it; the batch has not changed the model.
        """
        _, machines = this_machine()
        devices = self._strategy.num_replicas_in_sync // machines
        size = self._micro_batch or layers.MICRO_BATCH
        parts = devices * max(1, round(len(targets) / (size * devices)))
        if gpu_compiles() and len(targets) % parts == 0:
            parts //= _per_call(parts // devices, math.prod(inputs.shape) // parts)
        x, y = _split(_as_float32(inputs), parts), _split(targets, parts)
        results: list[tuple[tf.Tensor, tf.Tensor]] = []
        for start in range(0, parts, devices):
            # Machines may have different numbers of micro-batches, and stop together.
            if results and machines == 1 and checkpointer and checkpointer.stop():
                raise TrainingInterrupted
            chosen = slice(start, start + devices)
            images, classes = (distribute(self._strategy, each[chosen]) for each in (x, y))
            results.append(self._accumulate(images, classes))
        own = [0.0, 0.0, 0.0]
        if (
            machines > 1
        ):  # one machine reads its sums after the update, for which a GPU needn't wait then
            asked = bool(checkpointer and checkpointer.asked())
            own = [*_sums_of(results), float(asked)]
        size = whole or len(targets)
        numbers = [tf.constant(each, tf.float32) for each in (size, progress, own)]
        summed = self._update(*numbers)
        if machines == 1:
            return BatchResult(*_sums_of(results))
        loss, correct, stopping = (float(each) for each in summed.numpy())
        return BatchResult(loss, int(correct), stopping > 0)

    def eval_batch(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, int]:
        """Summed loss and number of correct predictions for (n, ...) inputs; changes nothing."""
        loss, correct = self._evaluate(_as_float32(inputs), tf.constant(targets))
        return float(loss), int(correct)


def _sums_of(results: Sequence[tuple[tf.Tensor, tf.Tensor]]) -> tuple[float, int]:
    """Loss and number of correct predictions, over micro-batches; waits for these."""
    return sum(float(loss) for loss, _ in results), sum(int(count) for _, count in results)


def _per_call(parts: int, size: int) -> int:
    """How many of `parts` micro-batches, of `size` values each, a GPU takes in one call: a divisor."""
    divisors = (n for n in range(1, parts + 1) if parts % n == 0)
    return max(n for n in divisors if n == 1 or n * size <= VALUES_PER_CALL)


def _split(values: Any, parts: int) -> list[Any]:
    """Split an array or tensor into `parts` slices whose lengths differ by one at most."""
    least, more = divmod(len(values), parts)
    edges = [i * least + min(i, more) for i in range(parts + 1)]
    return [values[start:end] for start, end in pairwise(edges)]


def _as_float32(inputs: Any) -> Any:
    """Cached float16 features as float32: for float16, oneDNN prints messages on standard error."""
    return inputs.astype(np.float32) if inputs.dtype == np.float16 else inputs
