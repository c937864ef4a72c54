"""Several devices of one machine that share each batch, after TensorFlow's MirroredStrategy.

Every device holds the whole model and takes its parts of a batch. What they find out is summed up:
gradients and batch statistics add to accumulators of which each device has its own, and whoever
reads one reads the sum over all devices. One device is a strategy too, TensorFlow's default.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tasks.vision.device import Device
from tasks.vision.errors import BadInput


def strategy_for(device: Device, count: int) -> tf.distribute.Strategy:
    """What shares batches out among `count` devices; variables are to be made in its scope.

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
    """A float32 sum, zero at first, to which each device of the current strategy adds on its own."""
    return tf.Variable(
        tf.zeros(shape),
        trainable=False,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.SUM,
    )


def clear(totals: Sequence[tf.Variable]) -> None:
    """Set accumulators to zero again."""
    for total in totals:
        total.assign(tf.zeros(total.shape))


def distribute(strategy: tf.distribute.Strategy, parts: Sequence[np.ndarray]) -> Any:
    """One part for each device, as `strategy.run` takes them."""
    if strategy.num_replicas_in_sync == 1:
        return tf.constant(parts[0])
    return strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(parts[context.replica_id_in_sync_group])
    )
