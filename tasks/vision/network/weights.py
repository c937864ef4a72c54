"""A model's variables as NumPy arrays by name, and back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from tasks.vision.errors import BadInput
from tasks.vision.trained_model import Tensors


def named_variables(model: keras.Model) -> Iterator[tuple[str, Any]]:
    """Yield every variable of the model with its name, `layer/variable`."""
    for layer in model.layers:
        for variable in layer.variables:
            yield f"{layer.name}/{variable.name}", variable


def get_weights(model: keras.Model) -> Tensors:
    """Return a copy of every variable as a float32 array, by its name `layer/variable`."""
    return {name: np.array(variable) for name, variable in named_variables(model)}


def set_weights(model: keras.Model, tensors: Tensors) -> None:
    """Set the model's variables from `layer/variable` arrays; names and shapes must match.

    Raises:
        BadInput: a tensor is missing, or has another shape or dtype.
    """
    for name, variable in named_variables(model):
        value = tensors.get(name)
        if value is None or value.shape != tuple(variable.shape) or value.dtype != np.float32:
            have = "nothing" if value is None else f"{value.dtype}{list(value.shape)}"
            raise BadInput(
                f"model: tensor {name!r} should be float32{list(variable.shape)}, "
                f"the file has {have}; the file is damaged or from other code"
            )
        variable.assign(value)
