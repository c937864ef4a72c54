"""From a model's logits to the probability of every label, and its loss, without TensorFlow."""

from __future__ import annotations

import numpy as np

TINY = 1e-300  # so that no logarithm is infinite


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Return the probability of every label, (n, labels) float64, for logits (n, outputs).

    One output is the logit of the first of two labels.

    >>> probabilities(np.array([[0.0]]))
    array([[0.5, 0.5]])
    """
    logits = logits.astype(np.float64)
    if logits.shape[1] == 1:
        logits = np.concatenate([logits, np.zeros_like(logits)], 1)
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)


def without_temperature(chances: np.ndarray, temperature: float) -> np.ndarray:
    """Return the probabilities (n, labels) that a model would give if its logits weren't divided by it."""
    return probabilities(np.log(np.maximum(chances, TINY, dtype=np.float64)) * temperature)


def log_loss(logits: np.ndarray, targets: np.ndarray) -> float:
    """Return the mean cross-entropy, in nats, of logits (n, outputs) for target indices (n,)."""
    likely = probabilities(logits)[np.arange(len(targets)), targets]
    return float(-np.log(np.maximum(likely, TINY)).mean())
