"""A trained model as plain data: its architecture, labels, tensors and history.

Nothing here imports TensorFlow. The file format is safetensors: a bounded JSON header and raw
numbers, so that loading a file can't run code.
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
from tasks.vision.tensor_shapes import tensor_shapes

Tensors = dict[str, np.ndarray]
NOTE = "relevo"


class Architecture(Strict):
    """Everything that `build_model` needs to rebuild the network."""

    network: Network
    image_size: Pixels
    outputs: Positive
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    features: Literal["last layer", "every layer"] = "last layer"


class Card(Strict):
    """A model's metadata: what it predicts, and how it was trained."""

    architecture: Architecture
    labels: list[str] = Field(min_length=2)
    classes: list[list[str]] = Field(
        description="for each label, the data's classes that it stands for"
    )
    train: str
    bits: int = Field(16, ge=8, le=16, description="used by 16-bit samples of its images")
    frozen_blocks: int = 0
    perturb: float = Field(
        0.0, description="share of random weights mixed into the transferred kernels"
    )
    epochs: int
    selected_epoch: int = Field(description="whose weights the model has, 1-based")
    seconds: float
    images: int = Field(description="number of training images")
    images_per_second: float
    resumed: bool = False
    flip: bool = Field(description="trained on mirror images too")
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
    """Return the SHA-256 over names, dtypes, shapes and little-endian bytes, sorted by name."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        value = np.asarray(tensors[name], order="C")
        little = value.astype(value.dtype.newbyteorder("<"), copy=False)
        sha.update(f"{name}\0{value.dtype.name}\0{value.shape}\0".encode())
        sha.update(little.tobytes())
    return sha.hexdigest()


def best_epoch(history: Sequence[Mapping[str, float]]) -> int:
    """Return the epoch (1-based) with the best validation accuracy, ties resolved by the lowest loss.

    On few images ties are frequent, and the first of them may be there by chance.
    """

    def quality(index: int) -> tuple[float, float]:
        return history[index]["validation_accuracy"], -history[index]["validation_loss"]

    return 1 + max(range(len(history)), key=quality)


def pack(card: Card, tensors: Tensors) -> bytes:
    """Return a safetensors file: the tensors, and the card as JSON in its header."""
    return pack_arrays(tensors, card.model_dump(mode="json"))


def unpack(content: bytes, origin: str) -> tuple[Card, Tensors]:
    """Read a file of `pack`; `origin` names it in messages.

    Raises:
        BadInput: it is not such a file.
    """
    try:
        note, tensors = unpack_arrays(content)
        card = Card.model_validate(note)
        about = card.architecture
        every_layer = about.features == "every layer"
        shapes = tensor_shapes(about.network, about.image_size, about.outputs, every_layer)
        if {name: value.shape for name, value in tensors.items()} != shapes:
            raise ValueError("other tensors than the card's network has")
        return card, tensors
    except ValueError:  # pydantic's ValidationError is one
        raise BadInput(
            f"{origin} is not a relevo model; give RUN/STAGE or a run's folder models/STAGE"
        ) from None


def pack_arrays(arrays: Mapping[str, np.ndarray], note: Any) -> bytes:
    """Return a safetensors file of `arrays`, whose bytes depend on arrays and note alone."""
    # np.ascontiguousarray would turn a scalar, such as Adam's step count, into a vector.
    ordered = {name: np.asarray(arrays[name], order="C") for name in sorted(arrays)}
    return save(ordered, {NOTE: json.dumps(note, sort_keys=True)})


def unpack_arrays(content: bytes) -> tuple[Any, dict[str, np.ndarray]]:
    """Return note and arrays of a file of `pack_arrays`.

    Raises:
        ValueError: it is not such a file.
    """
    try:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        return json.loads(header["__metadata__"][NOTE]), load(content)
    except (SafetensorError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"no arrays with a note ({type(error).__name__}: {error})") from None
