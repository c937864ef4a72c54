"""A head on a pretrained network as one model's tensors, and back. No TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import ValidationError

from tasks.vision.errors import BadInput
from tasks.vision.ood_score import OodScore, ood_score_of
from tasks.vision.pretrained.graph.feature_points import Features, feature_width
from tasks.vision.pretrained.graph.network import NetworkConfig, PretrainedNetwork
from tasks.vision.trained_model import (
    HEAD_BIAS,
    HEAD_KERNEL,
    NETWORK_PREFIX,
    Card,
    Tensors,
)


@dataclass(frozen=True)
class HeadOnNetwork:
    """A frozen network, and a linear head on its features.

    Attributes:
        kernel: (features, outputs) float32. bias: (outputs,) float32.
        ood_score: how unlike training an image is; older models have none.
    """

    network: PretrainedNetwork
    features: Features
    kernel: np.ndarray
    bias: np.ndarray
    ood_score: OodScore | None = None


def join_tensors(model: HeadOnNetwork) -> Tensors:
    """Return a model's tensors: those of the network, the head and the out-of-distribution score."""
    own = {f"{NETWORK_PREFIX}{name}": value for name, value in model.network.tensors.items()}
    more = model.ood_score.tensors() if model.ood_score else {}
    return {**own, HEAD_KERNEL: model.kernel, HEAD_BIAS: model.bias, **more}


def split_tensors(card: Card, tensors: Tensors) -> HeadOnNetwork:
    """Return network and head of a model that `card` describes.

    Raises:
        BadInput: the card is of another kind of model, or the tensors don't fit it.
    """
    about = card.pretrained
    if about is None:
        raise BadInput(
            "the model has no pretrained network; expected one that a head was trained on"
        )
    try:
        config = NetworkConfig.model_validate_json(about.config)
    except ValidationError:
        raise BadInput(
            "the model's network can't be read; its file is damaged or of another version of relevo"
        ) from None
    own = {
        name.removeprefix(NETWORK_PREFIX): value
        for name, value in tensors.items()
        if name.startswith(NETWORK_PREFIX)
    }
    network, features = PretrainedNetwork(config, own), card.architecture.features
    kernel, bias = tensors[HEAD_KERNEL], tensors[HEAD_BIAS]
    if len(kernel) != (width := feature_width(network, features)):
        raise BadInput(
            f"the model's head takes {len(kernel)} features, its network has {width}; the file is damaged"
        )
    ood_score = ood_score_of(tensors)
    if ood_score and len(ood_score.centre) > width:
        raise BadInput(
            f"the model's out-of-distribution score takes {len(ood_score.centre)} features, its "
            f"network has {width}; the file is damaged"
        )
    return HeadOnNetwork(network, features, kernel, bias, ood_score)
