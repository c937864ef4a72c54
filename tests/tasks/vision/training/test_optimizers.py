"""The update rules against the same rules written out by hand in NumPy."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tasks.vision.device import Device
from tasks.vision.network.networks import build, initialise
from tasks.vision.network.runtime import set_up
from tasks.vision.recipe.schema import Network
from tasks.vision.training.optimizers import LossScaling, SgdMuon, make_optimizer, orthogonalise

CPU = Device("cpu", "test", "float32")
TINY = Network(widths=(8,), logit_scale=1 / 256)


@pytest.fixture(autouse=True)
def one_operation_at_a_time() -> None:
    """TensorFlow's threads can be set only before it computes anything."""
    set_up(CPU)


@pytest.fixture
def model() -> keras.Model:
    model = build(TINY, 32, 3, [0.5] * 3, [0.25] * 3)
    images = np.random.default_rng(0).integers(0, 256, (50, 32, 32, 3), dtype=np.uint8)
    initialise(model, images, 0)
    return model


def test_newton_schulz_brings_singular_values_near_one() -> None:
    kernel = tf.constant(np.random.default_rng(0).normal(size=(3, 3, 16, 24)), tf.float32)
    singular = np.linalg.svd(
        orthogonalise(kernel, steps=6).numpy().reshape(-1, 24), compute_uv=False
    )
    assert singular.min() > 0.6
    assert singular.max() < 1.3
    few = np.linalg.svd(orthogonalise(kernel).numpy().reshape(-1, 24), compute_uv=False)
    assert few.max() / few.min() < np.linalg.cond(kernel.numpy().reshape(-1, 24))


def test_sgd_is_pytorchs_nesterov_with_decay(model: keras.Model) -> None:
    rule = SgdMuon(model, rate=0.5, muon=False)
    head = model.get_layer("head").kernel
    w, buffer = head.numpy().astype(np.float64), 0.0
    rate = 0.67 * 0.5
    for progress in (0.0, 0.25, 0.5):
        gradients = [tf.ones(v.shape) * 0.1 for v in model.trainable_variables]
        rule.apply(gradients, tf.constant(progress))
        g = 0.1 + 0.004 / rate * w
        buffer = 0.85 * buffer + g
        w = w - rate * (1 - progress) * (g + 0.85 * buffer)
    assert head.numpy() == pytest.approx(w, abs=1e-5)


def test_muon_keeps_a_kernels_norm_and_moves_it_by_the_rate(model: keras.Model) -> None:
    rule = make_optimizer("muon", model, 1.0)
    kernel = model.get_layer("conv_1b").kernel
    draw = np.random.default_rng(1)
    gradients = [
        tf.constant(draw.normal(size=v.shape), tf.float32) for v in model.trainable_variables
    ]
    before = kernel.numpy() * (8**0.5 / np.linalg.norm(kernel.numpy()))
    rule.apply(gradients, tf.constant(0.0))
    step = (before - kernel.numpy()).reshape(-1, 8) / 0.24
    singular = np.linalg.svd(step, compute_uv=False)
    assert singular.max() < 1.3
    assert singular.min() > 0.2


def test_rates_reach_zero_at_the_end(model: keras.Model) -> None:
    rule = make_optimizer("sgd", model, 1.0)
    before = [np.array(v) for v in model.trainable_variables]
    rule.apply([tf.ones(v.shape) for v in model.trainable_variables], tf.constant(1.0))
    for old, variable in zip(before, model.trainable_variables, strict=True):
        assert (old == np.array(variable)).all()


def test_the_whitening_layer_whitens_and_never_trains() -> None:
    draw = np.random.default_rng(0)
    base = draw.integers(0, 256, (400, 8, 8, 3), dtype=np.uint8)
    images = base.repeat(4, 1).repeat(4, 2)  # neighbours agree, as in photographs
    images = np.clip(images + draw.integers(-20, 20, images.shape), 0, 255).astype(np.uint8)
    model = build(TINY, 32, 3, [0.5] * 3, [0.29] * 3)
    initialise(model, images, 0)
    whiten = keras.Model(model.input, model.get_layer("whiten").output)
    out = whiten(images).numpy()[..., :12].reshape(-1, 12)
    moment = out.T @ out / len(out)
    assert np.abs(moment - np.eye(12)).max() < 0.1
    assert not model.get_layer("whiten").trainable_variables


def test_grey_images_leave_no_dead_channel() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (50, 32, 32, 1), dtype=np.uint8).repeat(3, 3)
    model = build(TINY, 32, 3, [0.5] * 3, [0.29] * 3)
    initialise(model, grey, 0)
    out = keras.Model(model.input, model.get_layer("whiten").output)(grey).numpy()
    assert out.std((0, 1, 2)).min() > 0.1


def test_loss_scaling_leaves_out_steps_that_overflow_and_grows_back(model: keras.Model) -> None:
    variables = model.trainable_variables
    rule = LossScaling(make_optimizer("sgd", model, 1.0), factor=1024.0, patience=2)
    step = tf.function(rule.apply)
    before = [v.numpy() for v in variables]
    overflown = [tf.fill(v.shape, np.inf) for v in variables]
    step(overflown, tf.constant(0.0))
    assert all((v.numpy() == was).all() for v, was in zip(variables, before, strict=True))
    assert rule.factor.numpy() == 512
    for _ in range(2):
        step([tf.fill(v.shape, 512.0) for v in variables], tf.constant(0.0))
    assert rule.factor.numpy() == 1024
    plain = build(TINY, 32, 3, [0.5] * 3, [0.25] * 3)
    for variable, was in zip(plain.trainable_variables, before, strict=True):
        variable.assign(was)
    unscaled = make_optimizer("sgd", plain, 1.0)
    for _ in range(2):
        unscaled.apply([tf.ones(v.shape) for v in variables], tf.constant(0.0))
    for scaled, other in zip(variables, plain.trainable_variables, strict=True):
        assert scaled.numpy() == pytest.approx(other.numpy(), abs=1e-5)
