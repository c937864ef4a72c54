"""From a model's logits to the probability of every label, without TensorFlow."""

from __future__ import annotations

import numpy as np


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
