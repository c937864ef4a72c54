"""Data-parallel training on several devices, of one machine or of a cluster, by TensorFlow's strategies.

Every device has the whole model and takes its micro-batches of a batch. Gradients and batch statistics
are summed in accumulators: each device adds to its own copy, and `totals` returns the sums over all
devices, of other machines too. One device is a strategy as well, TensorFlow's default.

What sums over machines must be computed in the same order on each. TensorFlow numbers such operations
as it traces them, so no function that contains one may depend on the size of a machine's part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tasks.vision.cluster import Cluster
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
        raise _too_few(count, len(there), kind)
    return tf.distribute.MirroredStrategy([found.name for found in there[:count]])


def _too_few(wanted: int, seen: int, kind: str) -> BadInput:
    return BadInput(
        f"devices = {wanted}, and TensorFlow sees {seen} {kind}; "
        "lower the stage's devices, or train it where there are as many"
    )


def join(cluster: Cluster, device: Device, count: int) -> tf.distribute.Strategy:
    """Start TensorFlow's runtime as one of a cluster; wait for the others, and return their strategy.

    Sums are made by NCCL on GPUs and around a ring on processors, both in an order that depends on the
    number of machines alone.

    Args:
        count: devices of this machine; each has as many.

    Raises:
        BadInput: TensorFlow sees fewer.
    """
    gpus = len(tf.config.list_physical_devices("GPU")) if device.kind == "gpu" else 0
    if count > max(gpus, 1):
        raise _too_few(count, max(gpus, 1), device.kind.upper())
    kinds = tf.distribute.experimental.CommunicationImplementation
    return tf.distribute.MultiWorkerMirroredStrategy(
        tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec({"worker": list(cluster.addresses)}),
            task_type="worker",
            task_id=cluster.index,
            num_accelerators={"GPU": count} if gpus else {},
            rpc_layer="grpc",
        ),
        tf.distribute.experimental.CommunicationOptions(
            implementation=kinds.NCCL if gpus else kinds.RING
        ),
    )


def this_machine() -> tuple[int, int]:
    """Return this machine's index among those of the current strategy, and their number."""
    resolver = tf.distribute.get_strategy().cluster_resolver
    if resolver is None:
        return 0, 1
    return resolver.task_id, resolver.cluster_spec().num_tasks("worker")


def sum_over_machines(*values: float) -> list[float]:
    """Return the sums of these values over all machines, each of which must call this with as many."""
    if this_machine()[1] == 1:
        return list(values)
    strategy = tf.distribute.get_strategy()
    summed = strategy.reduce("SUM", tf.constant(values, tf.float64), axis=None)
    return [float(value) for value in summed.numpy()]


def accumulator(shape: Sequence[int]) -> tf.Variable:
    """Return a float32 sum, initially zero, of which each device of the current strategy has a copy."""
    return tf.Variable(
        tf.zeros(shape),
        trainable=False,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.SUM,
    )


def totals(accumulators: Sequence[tf.Variable], *beside: tf.Tensor) -> list[tf.Tensor]:
    """Return the sums over all devices; one message carries all, since each takes a round trip.

    Args:
        beside: float32 values of this machine, whose sums over all machines come last.
    """
    strategy = tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return [*(tf.convert_to_tensor(each) for each in accumulators), *beside]
    devices = replicas // this_machine()[1]
    shapes = [each.shape for each in (*accumulators, *beside)]

    def own() -> tf.Tensor:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        first = tf.cast(tf.equal(replica % devices, 0), tf.float32)  # of this machine's devices
        parts = [*(each.read_value() for each in accumulators), *(first * each for each in beside)]
        return tf.concat([tf.reshape(part, [-1]) for part in parts], 0)

    whole = strategy.reduce("SUM", strategy.run(own), axis=None)
    parts = tf.split(whole, [shape.num_elements() for shape in shapes])
    return [tf.reshape(part, shape) for part, shape in zip(parts, shapes, strict=True)]


def reset(accumulators: Sequence[tf.Variable]) -> None:
    """Set accumulators to zero."""
    for each in accumulators:
        each.assign(tf.zeros(each.shape))


def distribute(strategy: tf.distribute.Strategy, parts: Sequence[np.ndarray]) -> Any:
    """Return one part for each device of this machine, in the form that `strategy.run` takes."""
    if len(parts) == 1:
        return tf.constant(parts[0])
    return strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(parts[context.replica_id_in_sync_group % len(parts)])
    )
