"""Optimizers: Nesterov SGD, with Muon for convolution kernels or without, and Adam; loss scaling.

Each is made for a model's trainable variables, and holds its state in `slots`, which checkpoints
save. The learning-rate schedule is in `apply`: the rate follows from the training's progress.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import keras
import tensorflow as tf

from tasks.vision.network.networks import HEAD

MOMENTUM = 0.85
KERNEL_RATE, KERNEL_MOMENTUM = 0.24, 0.6
RATES = {"head": 0.67, "bias": 0.053}
FINE_TUNING = 0.3  # factor on the offsets' learning rate under a head that was trained before
DECAY = 0.004  # weight decay times learning rate, for everything that SGD updates


class Optimizer(Protocol):
    """What the training loop needs of an optimizer."""

    @property
    def slots(self) -> Sequence[Any]:
        """The optimizer's own variables, in a fixed order."""

    def apply(self, gradients: Sequence[tf.Tensor], progress: tf.Tensor) -> None:
        """Update the variables; `progress` runs from 0 (first step) towards 1 (float32 scalar)."""


def make_optimizer(
    name: str, model: keras.Model, rate: float, head_is_trained: bool = False
) -> Optimizer:
    """Make "muon", "sgd" or "adam" for the trainable variables of `model`.

    Under a float16 policy it comes with loss scaling.

    Args:
        rate: factor on all of the optimizer's learning rates.
        head_is_trained: fine-tuning begins under a head that was trained before.
    """
    optimizer: Optimizer
    if name == "adam":
        optimizer = Adam(model.trainable_variables, rate)
    elif name not in {"muon", "sgd"}:
        raise ValueError(f"no optimizer {name!r}; expected muon, sgd or adam")
    else:
        optimizer = SgdMuon(model, rate, muon=name == "muon", head_is_trained=head_is_trained)
    half = keras.config.dtype_policy().compute_dtype == "float16"
    return LossScaling(optimizer) if half else optimizer


class Adam:
    """Keras' Adam at .001 times `rate`, constant or decaying linearly to zero."""

    def __init__(self, variables: Sequence[Any], rate: float, decaying: bool = False) -> None:
        self._rate, self._decaying = 0.001 * rate, decaying
        self._adam = keras.optimizers.Adam(self._rate)
        self._adam.build(variables)
        self._variables = variables
        self.slots = self._adam.variables

    def apply(self, gradients: Sequence[tf.Tensor], progress: tf.Tensor) -> None:
        if self._decaying:
            self._adam.learning_rate.assign(self._rate * (1 - progress))
        # Keras' own `apply` sums over the devices once more; the gradients are sums already.
        update = tf.distribute.get_strategy().extended.update
        for variable, gradient in zip(self._variables, gradients, strict=True):
            update(variable.value, self._update, (gradient,), group=False)
        self._adam.iterations.assign_add(1)

    def _update(self, variable: tf.Variable, gradient: tf.Tensor) -> None:
        self._adam.update_step(gradient, variable, self._adam.learning_rate)


class SgdMuon:
    """Nesterov SGD in PyTorch's form, its learning rate decaying linearly to zero.

    With `muon`, 4-D kernels follow Muon instead (Jordan et al. 2024; cifar10-airbench,
    airbench94_muon): the kernel's norm is set to sqrt(filters), and the momentum's direction is
    made orthogonal by three Newton-Schulz steps.
    """

    def __init__(
        self, model: keras.Model, rate: float, muon: bool, head_is_trained: bool = False
    ) -> None:
        # A trained head has large weights, and passes large gradients down. Muon's steps don't grow
        # with the gradient; those of offsets do, and would lose what was learnt.
        offsets = RATES["bias"] * (FINE_TUNING if head_is_trained else 1.0)
        self._updates: list[tuple[Any, Any, float, bool]] = []
        for layer in model.layers:
            for variable in layer.trainable_variables:
                kernel = len(variable.shape) == 4
                own = RATES["head"] if layer.name == HEAD else offsets
                slot = tf.Variable(tf.zeros(variable.shape), trainable=False)
                base = (KERNEL_RATE if muon else RATES["bias"]) if kernel else own
                self._updates.append((variable, slot, base * rate, kernel and muon))
        self.slots = [slot for _, slot, *_ in self._updates]

    def apply(self, gradients: Sequence[tf.Tensor], progress: tf.Tensor) -> None:
        for gradient, (variable, slot, rate, muon) in zip(gradients, self._updates, strict=True):
            now = rate * (1 - progress)
            weights = tf.convert_to_tensor(variable)
            if muon:
                slot.assign(KERNEL_MOMENTUM * slot + gradient)
                step = orthogonalise(gradient + KERNEL_MOMENTUM * slot)
                weights *= float(variable.shape[-1]) ** 0.5 / tf.norm(weights)
            else:
                gradient += DECAY / rate * weights
                slot.assign(MOMENTUM * slot + gradient)
                step = gradient + MOMENTUM * slot
            variable.assign(weights - now * step)


class LossScaling:
    """Dynamic loss scaling: the loss is multiplied, its gradients divided, so that none underflows.

    The factor doubles after `patience` steps in a row with finite gradients; a step with others is
    skipped, and halves it (Micikevicius et al., arXiv 1710.03740, sec. 3.2).
    """

    # By hand: Keras' LossScaleOptimizer wraps Keras' own optimizers alone, and float32 would do without
    # tensor cores, which give the float16 GPUs (V100, T4) 8 times as many operations a second.

    def __init__(self, optimizer: Optimizer, factor: float = 2.0**10, patience: int = 500) -> None:
        self._optimizer, self._patience = optimizer, patience
        self.factor = tf.Variable(factor, trainable=False, dtype=tf.float32)
        self._finite_steps = tf.Variable(0.0, trainable=False)
        self.slots = [*optimizer.slots, self.factor, self._finite_steps]

    def apply(self, gradients: Sequence[tf.Tensor], progress: tf.Tensor) -> None:
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in gradients])
        factor = tf.convert_to_tensor(self.factor)

        def update() -> None:
            self._optimizer.apply([g / factor for g in gradients], progress)
            enough = self._finite_steps + 1 >= self._patience
            self._finite_steps.assign(tf.where(enough, 0.0, self._finite_steps + 1))
            self.factor.assign(tf.where(enough, factor * 2, factor))

        def skip() -> None:
            self._finite_steps.assign(0.0)
            self.factor.assign(factor / 2)

        tf.cond(finite, update, skip)


def orthogonalise(kernel: tf.Tensor, steps: int = 3) -> tf.Tensor:
    """Return a (h, w, in, out) kernel with the singular values of its matrix moved close to 1.

    Newton-Schulz iteration with the quintic coefficients of Muon (Jordan et al. 2024).
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    shape = kernel.shape
    matrix = tf.reshape(kernel, (-1, shape[-1]))
    tall = matrix.shape[0] > matrix.shape[1]
    x = tf.transpose(matrix) if tall else matrix
    x /= tf.norm(x) + 1e-7
    for _ in range(steps):
        gram = tf.matmul(x, x, transpose_b=True)
        x = a * x + tf.matmul(b * gram + c * tf.matmul(gram, gram), x)
    return tf.reshape(tf.transpose(x) if tall else x, shape)
