"""Data-parallel training on several devices of one machine, by TensorFlow's MirroredStrategy.

Every device has the whole model and takes its micro-batches of a batch. Gradients and batch statistics
are summed in accumulators: each device adds to its own copy, and a read returns the sum over all
devices. One device is a strategy too, TensorFlow's default.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tasks.vision.device import Device
from tasks.vision.errors import BadInput


def strategy_for(device: Device, count: int) -> tf.distribute.Strategy:
    """Return the strategy for `count` devices; create variables in its scope.

    Raises:
        BadInput: TensorFlow sees fewer.
    """
    if count == 1:
        return tf.distribute.get_strategy()
    kind = device.kind.upper()
    there = tf.config.list_logical_devices(kind)
    if len(there) < count:
        raise BadInput(
            f"devices = {count}, and TensorFlow sees {len(there)} {kind}; "
            "lower the stage's devices, or train it where there are as many"
        )
    return tf.distribute.MirroredStrategy([found.name for found in there[:count]])


def accumulator(shape: Sequence[int]) -> tf.Variable:
    """Return a float32 sum, initially zero, of which each device of the current strategy has a copy."""
    return tf.Variable(
        tf.zeros(shape),
        trainable=False,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.SUM,
    )


def reset(totals: Sequence[tf.Variable]) -> None:
    """Set accumulators to zero."""
    for total in totals:
        total.assign(tf.zeros(total.shape))


def distribute(strategy: tf.distribute.Strategy, parts: Sequence[np.ndarray]) -> Any:
    """Return one part for each device, in the form that `strategy.run` takes."""
    if strategy.num_replicas_in_sync == 1:
        return tf.constant(parts[0])
    return strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(parts[context.replica_id_in_sync_group])
    )
