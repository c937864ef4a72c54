"""Names of a model's files, and a description of its inputs and outputs."""

from __future__ import annotations

import json
from typing import Any

from tasks.vision.pictures.fit import CROP, SHOWS
from tasks.vision.trained_model import Card

MODEL_FILE = "model.safetensors"
KERAS_FILE = "model.keras"
LABELS = "labels.json"  # beside a model in any format


def reading_options(card: Card) -> str:
    """Return the arguments of `read_image.decode` after the size, for this model: ', fit="pad"' or nothing."""
    bits = f", bits={card.bits}" if card.bits < 16 else ""
    return bits + (f', fit="{card.fit}"' if card.fit != CROP else "")


def output_signature(card: Card) -> dict[str, Any]:
    """Return the labels in the order of the outputs, the classes of each, and the input's form."""
    size = card.architecture.image_size
    call = f"decode(data, {size}{reading_options(card)})"
    return {
        "labels": card.labels,
        "classes": dict(zip(card.labels, card.classes, strict=True)),
        "input": f"RGB images ({size}, {size}, 3), values 0 to 255, by {call} of read_image.py",
        "fit": card.fit,
        "image": SHOWS[card.fit],
        "output": "the probability of each label",
    }


def labels_json(card: Card) -> bytes:
    """The bytes of `labels.json`."""
    return (json.dumps(output_signature(card), indent=1, ensure_ascii=False) + "\n").encode()
