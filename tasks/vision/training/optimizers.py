"""Update rules: Muon for convolution kernels beside Nesterov SGD, SGD alone, Keras' Adam; loss scaling.

Each rule is made for a model's trainable variables, keeps its state in `slots` (so that a
checkpoint can hold it) and is applied with the share of the training that is over.
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
FINE_TUNING = 0.3  # factor on the offsets' rate under a head that was trained before
DECAY = 0.004  # weight decay times learning rate, for everything that SGD updates


class Rule(Protocol):
    """What the training loop asks of an update rule."""

    @property
    def slots(self) -> Sequence[Any]:
        """The rule's own variables, in a fixed order."""

    def apply(self, gradients: Sequence[tf.Tensor], progress: tf.Tensor) -> None:
        """Update the variables; `progress` runs from 0 (first step) towards 1 (float32 scalar)."""


def make_rule(name: str, model: keras.Model, rate: float, head_knows: bool = False) -> Rule:
    """The rule `name` ("muon", "sgd" or "adam") for the trainable variables of `model`.

    Under a float16 policy it comes with loss scaling.

    Args:
        rate: factor on all of the rule's learning rates.
        head_knows: the head was trained before, and fine-tuning begins.
    """
    rule: Rule
    if name == "adam":
        rule = Adam(model.trainable_variables, rate)
    else:
        rule = FastRule(model, rate, orthogonal=name == "muon", head_knows=head_knows)
    return LossScale(rule) if keras.config.dtype_policy().compute_dtype == "float16" else rule


class Adam:
    """Keras' Adam at .001 times `rate`, constant or falling linearly to zero."""

    def __init__(self, variables: Sequence[Any], rate: float, falling: bool = False) -> None:
        self._rate, self._falling = 0.001 * rate, falling
        self._adam = keras.optimizers.Adam(self._rate)
        self._adam.build(variables)
        self._variables = variables
        self.slots = self._adam.variables

    def apply(self, gradients: Sequence[tf.Tensor], progress: tf.Tensor) -> None:
        if self._falling:
            self._adam.learning_rate.assign(self._rate * (1 - progress))
        # Keras' own `apply` sums over the devices once more; the gradients are sums already.
        update = tf.distribute.get_strategy().extended.update
        for variable, gradient in zip(self._variables, gradients, strict=True):
            update(variable.value, self._step, (gradient,), group=False)
        self._adam.iterations.assign_add(1)

    def _step(self, variable: tf.Variable, gradient: tf.Tensor) -> None:
        self._adam.update_step(gradient, variable, self._adam.learning_rate)


class FastRule:
    """Nesterov SGD in PyTorch's form with a linear decay of the rate to zero.

    With `orthogonal`, 4-D kernels follow Muon instead (Jordan et al. 2024; cifar10-airbench,
    airbench94_muon): the kernel's norm is set to sqrt(filters), and the momentum's direction is
    made orthogonal by three Newton-Schulz steps.
    """

    def __init__(
        self, model: keras.Model, rate: float, orthogonal: bool, head_knows: bool = False
    ) -> None:
        # A head that knows has grown large weights, and hands as large gradients down. Kernels take
        # steps of a fixed length whatever the gradient's; offsets would leap, and undo what was learnt.
        offsets = RATES["bias"] * (FINE_TUNING if head_knows else 1.0)
        self._updates: list[tuple[Any, Any, float, bool]] = []
        for layer in model.layers:
            for variable in layer.trainable_variables:
                kernel = len(variable.shape) == 4
                own = RATES["head"] if layer.name == HEAD else offsets
                slot = tf.Variable(tf.zeros(variable.shape), trainable=False)
                base = (KERNEL_RATE if orthogonal else RATES["bias"]) if kernel else own
                self._updates.append((variable, slot, base * rate, kernel and orthogonal))
        self.slots = [slot for _, slot, *_ in self._updates]

    def apply(self, gradients: Sequence[tf.Tensor], progress: tf.Tensor) -> None:
        for gradient, (variable, slot, rate, orthogonal) in zip(
            gradients, self._updates, strict=True
        ):
            now = rate * (1 - progress)
            weights = tf.convert_to_tensor(variable)
            if orthogonal:
                slot.assign(KERNEL_MOMENTUM * slot + gradient)
                step = orthogonalise(gradient + KERNEL_MOMENTUM * slot)
                weights *= float(variable.shape[-1]) ** 0.5 / tf.norm(weights)
            else:
                gradient += DECAY / rate * weights
                slot.assign(MOMENTUM * slot + gradient)
                step = gradient + MOMENTUM * slot
            variable.assign(weights - now * step)


class LossScale:
    """Keeps small float16 gradients from vanishing: the loss is multiplied, its gradients divided.

    The factor doubles after so many steps in a row whose gradients were finite; a step whose gradients
    were not is left out, and halves it (Micikevicius et al., arXiv 1710.03740, sec. 3.2).
    """

    def __init__(self, rule: Rule, factor: float = 2.0**10, patience: int = 500) -> None:
        self._rule, self._patience = rule, patience
        self.factor = tf.Variable(factor, trainable=False, dtype=tf.float32)
        self._good = tf.Variable(0.0, trainable=False)
        self.slots = [*rule.slots, self.factor, self._good]

    def apply(self, gradients: Sequence[tf.Tensor], progress: tf.Tensor) -> None:
        whole = tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in gradients])
        factor = tf.convert_to_tensor(self.factor)

        def use() -> None:
            self._rule.apply([g / factor for g in gradients], progress)
            enough = self._good + 1 >= self._patience
            self._good.assign(tf.where(enough, 0.0, self._good + 1))
            self.factor.assign(tf.where(enough, factor * 2, factor))

        def leave_out() -> None:
            self._good.assign(0.0)
            self.factor.assign(factor / 2)

        tf.cond(whole, use, leave_out)


def orthogonalise(kernel: tf.Tensor, steps: int = 3) -> tf.Tensor:
    """The nearest matrix with all singular values near 1, of a (h, w, in, out) kernel.

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
