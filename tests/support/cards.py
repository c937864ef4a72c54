"""A minimal model card."""

from __future__ import annotations

from tasks.vision.trained_model import Architecture, Card


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
