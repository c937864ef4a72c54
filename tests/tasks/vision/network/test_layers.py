"""The fast layers compute what Keras' and TensorFlow's own compute, gradients included."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from support.command import ROOT

from tasks.vision.network.layers import Convolution, convolve, silu, silu_gradient
from tasks.vision.network.xla_ops import max_pool, normalise

DRAW = np.random.default_rng(3)


def noise(*shape: int) -> tf.Tensor:
    return tf.constant(DRAW.normal(size=shape), tf.float32)


@pytest.mark.parametrize("size", [2, 3, 7])
def test_a_convolution_by_products_has_tensorflows_gradients(size: int) -> None:
    images, kernel, above = noise(5, size, size, 6), noise(3, 3, 6, 4), noise(5, size, size, 4)

    def gradients(function: object) -> list[np.ndarray]:
        with tf.GradientTape() as tape:
            tape.watch([images, kernel])
            y = function(images, kernel)  # type: ignore[operator]
        return [y.numpy(), *(g.numpy() for g in tape.gradient(y, [images, kernel], above))]

    own = gradients(convolve)
    theirs = gradients(lambda x, k: tf.nn.conv2d(x, k, 1, "SAME"))
    for a, b in zip(own, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_wide_small_images_take_the_products_where_there_is_a_matrix_unit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: list[tuple[int, ...]] = []

    def watched(images: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        taken.append(tuple(images.shape))
        return tf.nn.conv2d(images, kernel, 1, "SAME")

    monkeypatch.setattr("tasks.vision.network.layers.convolve", watched)
    for unit in (True, False):
        monkeypatch.setattr("tasks.vision.network.layers.has_matrix_unit", lambda unit=unit: unit)
        for size, channels in ((7, 128), (15, 128), (7, 64)):
            layer = Convolution(channels, dtype="mixed_bfloat16")
            layer(tf.zeros((2, size, size, channels)))
    assert taken == [(2, 7, 7, 128)]


def test_silu_in_bfloat16_has_the_gradient_of_float32() -> None:
    x, above = noise(1000) * 3, noise(1000)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.nn.silu(x)
    exact = tape.gradient(y, x, above)
    np.testing.assert_allclose(silu_gradient(x, above), exact, rtol=1e-5, atol=1e-6)

    half = tf.cast(x, tf.bfloat16)
    with tf.GradientTape() as tape:
        tape.watch(half)
        z = silu(half)
    near = tape.gradient(z, half, tf.cast(above, tf.bfloat16))
    assert near.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(near, tf.float32), exact, rtol=0.02, atol=0.02)


def test_compiled_normalisation_is_tensorflows_of_each_part() -> None:
    images, offset, above = 3 + 2 * noise(8, 3, 5, 6), noise(6), noise(8, 3, 5, 6)
    with tf.GradientTape() as tape:
        tape.watch([images, offset])
        y, *sums = normalise(images, offset, 1e-3, 2)
    own = tape.gradient(y, [images, offset], above)
    with tf.GradientTape() as tape:
        tape.watch([images, offset])
        parts = [
            tf.raw_ops.FusedBatchNormV3(
                x=part,
                scale=tf.ones(6),
                offset=offset,
                mean=tf.constant([]),
                variance=tf.constant([]),
                epsilon=1e-3,
            )
            for part in tf.split(images, 2)
        ]
        whole = tf.concat([part.y for part in parts], 0)
    theirs = tape.gradient(whole, [images, offset], above)
    means = sum(part.batch_mean for part in parts)
    variances = sum(part.batch_variance for part in parts)
    for a, b in zip((y, *sums, *own), (whole, means, variances, *theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [2, 6, 7])
def test_compiled_pooling_is_tensorflows(size: int) -> None:
    images = noise(3, size, size, 4)
    images = tf.where(images > 0, images, 0.0)  # with windows of equals, as after a ReLU
    above = noise(3, size // 2, size // 2, 4)
    results = []
    for pool in (max_pool, lambda x: tf.nn.max_pool2d(x, 2, 2, "VALID")):
        with tf.GradientTape() as tape:
            tape.watch(images)
            y = pool(images)
        results.append((y, tape.gradient(y, images, above)))
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_retracing_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(6):  # from the fifth on, TensorFlow finds that too often
        tf.function(lambda x: x + 1)(tf.constant(0))
    assert "retracing" not in caplog.text


def test_a_process_where_tensorflow_has_computed_otherwise_is_refused_in_one_line() -> None:
    asked = (
        "import tensorflow as tf\n"
        "tf.config.threading.set_inter_op_parallelism_threads(2)\n"
        "tf.constant(0.0)\n"
        "from tasks.vision.errors import BadInput\n"
        "from tasks.vision.device import Device\n"
        "from tasks.vision.network.runtime import set_up\n"
        "try:\n"
        "    set_up(Device('cpu', 'tests', 'float32'))\n"
        "except BadInput as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, cwd=ROOT)
    assert "start a fresh process" in done.stdout, done.stderr
