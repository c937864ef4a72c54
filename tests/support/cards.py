"""A minimal model card, and a small model that was never trained."""

from __future__ import annotations

import numpy as np

from tasks.vision.recipe.schema import Network
from tasks.vision.tensor_shapes import tensor_shapes
from tasks.vision.trained_model import Architecture, Card, Tensors


def bare_card(architecture: Architecture, labels: list[str], classes: list[list[str]]) -> Card:
    """Return a card with placeholders in all other fields."""
    return Card(
        architecture=architecture,
        labels=labels,
        classes=classes,
        train="all",
        epochs=1,
        selected_epoch=1,
        seconds=1.0,
        images=1,
        images_per_second=1.0,
        flip=True,
        device="cpu",
        history=[],
    )


def small_model() -> tuple[Card, Tensors]:
    """Return the card and tensors of a network of three classes."""
    network = Network(widths=(4, 6))
    architecture = Architecture(
        network=network, image_size=16, outputs=3, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2)
    )
    shapes = tensor_shapes(network, 16, 3, False)
    tensors = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    return bare_card(architecture, ["a", "b", "c"], [["a"], ["b"], ["c"]]), tensors
