"""A trained model as plain data: what it is built from, its labels, its tensors, its history.

Nothing here imports TensorFlow. The file format is safetensors: a bounded JSON header and raw
numbers, so that loading one can't run code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator
from safetensors import SafetensorError
from safetensors.numpy import load, save

from tasks.vision.errors import BadInput
from tasks.vision.recipe.schema import Network, Pixels, Positive, Strict

Tensors = dict[str, np.ndarray]
NOTE = "relevo"


class Architecture(Strict):
    """Everything that the code needs to build the network again."""

    network: Network
    image_size: Pixels
    outputs: Positive
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    features: Literal["last layer", "every layer"] = "last layer"


class Card(Strict):
    """What a model is and how it came about, beside its tensors."""

    architecture: Architecture
    labels: list[str] = Field(min_length=2)
    classes: list[list[str]] = Field(
        description="for each label, the data's classes that count as it"
    )
    train: str
    frozen_blocks: int = 0
    perturb: float = Field(0.0, description="share of new weights in what was handed on")
    epochs: int
    selected_epoch: int
    seconds: float
    images: int = Field(description="images trained on")
    images_per_second: float
    resumed: bool = False
    flip: bool = Field(description="a mirror image shows the same thing")
    device: str
    history: list[dict[str, float]]
    frozen: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _labels_and_outputs_agree(self) -> Card:
        binary = len(self.labels) == 2
        if self.architecture.outputs != (1 if binary else len(self.labels)):
            raise ValueError(f"{self.architecture.outputs} outputs for {len(self.labels)} labels")
        if len(self.classes) != len(self.labels):
            raise ValueError(f"classes of {len(self.classes)} targets, {len(self.labels)} labels")
        return self

    @property
    def binary(self) -> bool:
        """One sigmoid output: the probability of the first label."""
        return self.architecture.outputs == 1


def digest(tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, shapes, dtypes and little-endian bytes, in the order of names."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        value = np.asarray(tensors[name], order="C")
        little = value.astype(value.dtype.newbyteorder("<"), copy=False)
        sha.update(f"{name}\0{value.dtype.name}\0{value.shape}\0".encode())
        sha.update(little.tobytes())
    return sha.hexdigest()


def best_epoch(history: Sequence[Mapping[str, float]]) -> int:
    """The epoch (1-based) with the best validation accuracy, and of several the one with the least loss.

    On few images several have the same accuracy, the first perhaps by chance.
    """

    def worth(index: int) -> tuple[float, float]:
        return history[index]["validation_accuracy"], -history[index]["validation_loss"]

    return 1 + max(range(len(history)), key=worth)


def pack(card: Card, tensors: Tensors) -> bytes:
    """One safetensors file: the tensors, and the card as JSON in its header."""
    return pack_arrays(tensors, card.model_dump(mode="json"))


def unpack(content: bytes, origin: str) -> tuple[Card, Tensors]:
    """Read what `pack` wrote; `origin` names the file in messages.

    Raises:
        BadInput: not such a file.
    """
    try:
        note, tensors = unpack_arrays(content)
        card = Card.model_validate(note)
        # The network is built before its weights are compared: what the card claims is bounded by
        # the weights that are there.
        sizes = {size for value in tensors.values() for size in value.shape}
        if not sizes.issuperset(card.architecture.network.widths):
            raise ValueError("widths that no tensor has")
        return card, tensors
    except ValueError:  # pydantic's ValidationError is one
        raise BadInput(
            f"{origin} is not a relevo model; give RUN/STAGE or a run's folder models/STAGE"
        ) from None


def pack_arrays(arrays: Mapping[str, np.ndarray], note: Any) -> bytes:
    """The file's bytes, which are the same for the same arrays and note."""
    # np.ascontiguousarray would turn a scalar, such as Adam's step count, into a vector.
    ordered = {name: np.asarray(arrays[name], order="C") for name in sorted(arrays)}
    return save(ordered, {NOTE: json.dumps(note, sort_keys=True)})


def unpack_arrays(content: bytes) -> tuple[Any, dict[str, np.ndarray]]:
    """Note and arrays of what `pack_arrays` wrote; `ValueError` for anything else."""
    try:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        return json.loads(header["__metadata__"][NOTE]), load(content)
    except (SafetensorError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"no arrays with a note ({type(error).__name__}: {error})") from None
