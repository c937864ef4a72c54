"""Configure TensorFlow for a device."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import keras
import tensorflow as tf

from tasks.vision.cluster import Cluster
from tasks.vision.device import Device, cores, quiet_output
from tasks.vision.errors import BadInput
from tasks.vision.network.distribution import join, strategy_for
from tasks.vision.network.layers import silu_gradient
from tasks.vision.network.xla_ops import gpu_compiles

T = TypeVar("T")


def set_up(device: Device) -> None:
    """Configure TensorFlow for `device`; once per process, before anything else uses it.

    Raises:
        BadInput: the device is a GPU and TensorFlow sees none, TensorFlow has computed with other settings
            before, or Keras was imported with another backend.
    """
    _set_up(device, lambda: tf.constant(0.0))


def start(device: Device, devices: int, cluster: Cluster | None = None) -> tf.distribute.Strategy:
    """Configure TensorFlow as `set_up` does; return the strategy for so many devices of each machine.

    Args:
        cluster: the machines that train together, which this waits for; None for this one alone.

    Raises:
        BadInput: as for `set_up`, or TensorFlow sees fewer devices.
    """
    if cluster:
        return _set_up(device, lambda: join(cluster, device, devices))
    set_up(device)
    return strategy_for(device, devices)


def _set_up(device: Device, start: Callable[[], T]) -> T:
    """Configure TensorFlow for `device`, and return what `start` does, which starts its runtime."""
    if (backend := keras.config.backend()) != "tensorflow":
        raise BadInput(
            f"Keras was imported in this process with the backend {backend!r}, expected tensorflow; "
            "start a fresh process, or set KERAS_BACKEND=tensorflow"
        )
    # As Keras' own, whatever a keras.json says that was read before.
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    with quiet_output():
        try:
            _use(device)
            started = start()  # which logs
        except RuntimeError as error:  # its first computation fixes its settings
            raise BadInput(
                f"TensorFlow has computed in this process with other settings ({error}); "
                "start a fresh process, or let relevo be the first to use it"
            ) from error
        if device.kind == "cpu" and device.policy == "mixed_bfloat16":
            # XLA logs a banner with its first function: this one, or that of `gpu_compiles`.
            silu_gradient(tf.zeros((1,), tf.bfloat16), tf.zeros((1,), tf.bfloat16))
        gpu_compiles()
    # Five stages make five functions, and TensorFlow warns that they are "traced too often".
    tf.get_logger().setLevel(logging.ERROR)
    keras.config.set_dtype_policy(device.policy)
    return started


def _use(device: Device) -> None:
    if device.kind == "gpu":
        gpus = tf.config.list_physical_devices("GPU")
        if not gpus:
            raise BadInput(
                f"the driver offers {device.name}, TensorFlow sees no GPU; install relevo[gpu], "
                "or set CUDA_VISIBLE_DEVICES=-1 to train on the processor"
            )
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
        tf.config.experimental.enable_op_determinism()
        # The optimizer takes bfloat16 to have no tensor cores, and picks the slower layout.
        tf.config.optimizer.set_experimental_options({"layout_optimizer": False})
        # XLA compiles single layers: whole steps took 10 % longer on an H100, and on processors its
        # convolutions take twice as long as oneDNN's.
    else:
        tf.config.set_visible_devices([], "GPU")
        # One operation at a time: two that share the threads would split their sums differently each run.
        tf.config.threading.set_inter_op_parallelism_threads(1)
        tf.config.threading.set_intra_op_parallelism_threads(cores())
