"""A pretrained network as one safetensors file: its config as JSON in the header, and its tensors."""

from __future__ import annotations

from pydantic import ValidationError

from tasks.vision.errors import BadInput
from tasks.vision.pretrained.graph.network import NetworkConfig, PretrainedNetwork
from tasks.vision.trained_model import pack_arrays, unpack_arrays


def pack_network(network: PretrainedNetwork) -> bytes:
    """Return a file whose bytes depend on the network alone."""
    return pack_arrays(network.tensors, {"pretrained": network.config.model_dump_json()})


def unpack_network(content: bytes, origin: str) -> PretrainedNetwork:
    """Read a file of `pack_network`; `origin` names it in messages.

    Raises:
        BadInput: it is no such file, or its tensors are not those of its network.
    """
    try:
        note, tensors = unpack_arrays(content)
        if not isinstance(note, dict) or note.keys() != {"pretrained"}:
            raise ValueError("no pretrained network")
        return PretrainedNetwork(NetworkConfig.model_validate_json(note["pretrained"]), tensors)
    except (ValueError, ValidationError):
        raise BadInput(
            f"{origin} holds no pretrained network; it is damaged or of another version of relevo"
        ) from None
