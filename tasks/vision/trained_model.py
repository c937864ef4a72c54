"""A trained model as plain data: its architecture, labels, tensors and history.

Nothing here imports TensorFlow. The file format is safetensors: a bounded JSON header and raw
numbers, so that loading a file can't run code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator
from safetensors import SafetensorError
from safetensors.numpy import load, save

from tasks.vision.errors import BadInput
from tasks.vision.ood_score import OOD_PREFIX, ood_score_of
from tasks.vision.pictures.fit import CROP, Fit
from tasks.vision.recipe.names import IMAGENET
from tasks.vision.recipe.schema import Network, Pixels, Positive, Strict
from tasks.vision.tensor_shapes import tensor_shapes

Tensors = dict[str, np.ndarray]
NOTE = "relevo"
IMAGENET_CLASSES = 1000
# Tensors of a head on a pretrained network, and what begins the names of that network's own.
HEAD_KERNEL, HEAD_BIAS, NETWORK_PREFIX = "head/kernel", "head/bias", "network/"


class PretrainedCard(Strict):
    """A pretrained network that a head was trained on, and where it came from.

    Attributes:
        config: its layers, as `pretrained.graph.network.NetworkConfig` writes them.
        digest: sha256:..., over config and tensors. start: that of the network before fine-tuning.
        classes: of its own head, which is left out, if it has one.
        file, sha256: name and hash of the file that it was read from; imagenet/NETWORK for a named one.
        licence, source: of its weights, and its paper; "" for a user's own file.
        random: its weights are random, for comparison.
    """

    kind: Literal["pretrained"] = "pretrained"
    name: str
    config: str = Field(repr=False)
    digest: str
    classes: int | None
    file: str
    sha256: str
    licence: str = ""
    source: str = ""
    random: bool = False
    start: str = ""

    def __str__(self) -> str:
        return self.name

    @property
    def knows_imagenet(self) -> bool:
        """Whether its weights are of ImageNet's 1,000 classes, as far as name and outputs tell."""
        return self.classes == IMAGENET_CLASSES or self.file.startswith(IMAGENET)


class Penalty(Strict):
    """One strength of a head's L2 penalty that was tried: mean losses in nats, and accuracies.

    Attributes:
        strength: the penalty is half of it, times the squared norm of the standardised weights.
    """

    strength: float
    loss: float
    accuracy: float
    validation_loss: float
    validation_accuracy: float


class Architecture(Strict):
    """Everything that is needed to rebuild the network: by `build_model`, or on a pretrained one.

    A pretrained network prepares its images itself, and has the mean and deviation that change nothing.
    """

    network: Network | PretrainedCard
    image_size: Pixels
    outputs: Positive
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    features: Literal["last layer", "every layer"] = "last layer"

    @property
    def own_network(self) -> Network:
        """The network if relevo builds it itself. Raises ValueError for a pretrained one."""
        if isinstance(self.network, PretrainedCard):
            raise ValueError(f"{self.network} is rebuilt from its file's config")
        return self.network


class Card(Strict):
    """A model's metadata: what it predicts, and how it was trained."""

    architecture: Architecture
    labels: list[str] = Field(min_length=2)
    classes: list[list[str]] = Field(
        description="for each label, the data's classes that it stands for"
    )
    train: str
    bits: int = Field(16, ge=8, le=16, description="used by 16-bit samples of its images")
    # Left out where it was always so, since the hash of a model's file covers its card.
    fit: Fit = Field(
        CROP, exclude_if=lambda fit: fit == CROP, description="how its pictures became squares"
    )
    frozen_blocks: int = 0
    perturb: float = Field(
        0.0, description="share of random weights mixed into the transferred kernels"
    )
    epochs: int
    selected_epoch: int = Field(description="whose weights the model has, 1-based")
    seconds: float
    images: int = Field(description="number of training images")
    images_per_second: float
    sample: bool = Field(
        False, description="a control, trained and scored on a sample of the data's images"
    )
    resumed: bool = False
    flip: bool = Field(description="trained on mirror images too")
    device: str
    history: list[dict[str, float]]
    frozen: dict[str, Any] | None = None
    penalties: list[Penalty] = Field(
        [], description="tried for a head on a pretrained network, strongest first"
    )
    penalty: float | None = Field(None, description="the one chosen on the validation images")
    temperature: float | None = Field(
        None, gt=0, description="by which a head was divided, chosen on the validation images"
    )

    @model_validator(mode="after")
    def _labels_and_outputs_agree(self) -> Card:
        binary = len(self.labels) == 2
        if self.architecture.outputs != (1 if binary else len(self.labels)):
            raise ValueError(f"{self.architecture.outputs} outputs for {len(self.labels)} labels")
        if len(self.classes) != len(self.labels):
            raise ValueError(f"classes of {len(self.classes)} targets, {len(self.labels)} labels")
        return self

    @property
    def pretrained(self) -> PretrainedCard | None:
        """The pretrained network that the model is a head of."""
        network = self.architecture.network
        return network if isinstance(network, PretrainedCard) else None

    @property
    def on_features(self) -> bool:
        """True for a head on a frozen pretrained network, which is trained without epochs."""
        return self.pretrained is not None and self.train == "head"

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
        if isinstance(about.network, PretrainedCard):
            _check_head(tensors, about.outputs)
            return card, tensors
        every_layer = about.features == "every layer"
        shapes = tensor_shapes(about.own_network, about.image_size, about.outputs, every_layer)
        if {name: value.shape for name, value in tensors.items()} != shapes:
            raise ValueError("other tensors than the card's network has")
        return card, tensors
    except ValueError:  # pydantic's ValidationError is one
        raise BadInput(
            f"{origin} is not a relevo model; give RUN/STAGE or a run's folder models/STAGE"
        ) from None


def _check_head(tensors: Tensors, outputs: int) -> None:
    """Raise ValueError unless there is a head; the network's tensors are checked when it is rebuilt."""
    other = (NETWORK_PREFIX, OOD_PREFIX)
    own = {name: value for name, value in tensors.items() if not name.startswith(other)}
    if own.keys() != {HEAD_KERNEL, HEAD_BIAS}:
        raise ValueError("other tensors than a head has")
    kernel, bias = own[HEAD_KERNEL], own[HEAD_BIAS]
    if kernel.ndim != 2 or kernel.shape[1:] != (outputs,) or bias.shape != (outputs,):
        raise ValueError("a head of another shape")
    if not kernel.dtype == bias.dtype == np.float32:
        raise ValueError("a head that is not float32")
    ood_score_of(tensors)


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
