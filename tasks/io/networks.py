"""Read the pretrained network that a stage starts from, from a file or by its name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tasks.io.locations import local_path
from tasks.store.addresses import without_secrets
from tasks.store.base import Missing, sha256_of
from tasks.vision.errors import BadInput
from tasks.vision.files.download import fetch
from tasks.vision.pretrained.graph.blocks import check_frozen_blocks
from tasks.vision.pretrained.graph.network import PretrainedNetwork
from tasks.vision.pretrained.keras_applications.build_graph import read_named_network
from tasks.vision.pretrained.keras_applications.named_networks import NamedNetwork, named_network
from tasks.vision.pretrained.readers.keras_file import read_keras_file
from tasks.vision.recipe.names import IMAGENET
from tasks.vision.recipe.schema import Stage


@dataclass(frozen=True)
class NetworkFile:
    """A network as it was read from a file, and the file's hash in hex."""

    network: PretrainedNetwork
    sha256: str


def read_network(name: str, stage: Stage, image_size: int) -> NetworkFile:
    """Read the network that the stage called `name` starts from, and check that it fits.

    Raises:
        BadInput: there is no such file, it has another hash than the recipe says, it is no network that
            relevo can rebuild, or one that can't take images of that size; or weights can't be downloaded.
        StoreError: the bucket is out of reach.
    """
    given, key = stage.pretrained or "", "start"
    named = named_network(given) if given.startswith(IMAGENET) else None
    if stage.weights:
        given, key = stage.weights, "weights"
    if named and not stage.weights:
        path = _downloaded(f"stages.{name}.start = {given!r}", named)
    else:
        path = _local_file(f"stages.{name}.{key}", given)
    sha256, _ = sha256_of(path)
    if stage.sha256 not in (None, sha256):
        raise BadInput(
            f"stages.{name}.{key} = {without_secrets(given)!r}: its SHA-256 is {sha256}, the recipe "
            f"expects {stage.sha256}; give the right file, or correct sha256"
        )
    network = read_named_network(named, path) if named else read_keras_file(path)
    check_fits(name, stage, network, image_size)
    return NetworkFile(network, sha256)


def check_fits(name: str, stage: Stage, network: PretrainedNetwork, image_size: int) -> None:
    """Refuse a network that the stage called `name` can't train on images of that size.

    Raises:
        BadInput: it can't take such images, or the smaller ones of first epochs; or all its blocks are frozen.
    """
    network.check_size(image_size)
    if stage.train == "head then all":
        check_frozen_blocks(name, network, stage.frozen_blocks)
        if stage.progressive_resize:
            network.check_size(stage.progressive_resize.image_size)


def _downloaded(what: str, network: NamedNetwork) -> Path:
    """Return the file with the weights of a network, downloaded once into the user's cache folder."""
    try:
        return fetch(network.weights)
    except ConnectionError as error:
        file = network.weights
        digest = f" ({file.hash})" if file.digest else ""
        raise BadInput(
            f"{what}: {error}; or bring {file.name}{digest} here yourself and add weights = 'FILE' below start;"
            " or start from a Keras file that you have (start = 'FILE.keras'), or from scratch (relevo"
            " new-recipe --start none)"
        ) from None


def _local_file(key: str, given: str) -> Path:
    """Return the path of a file, which is downloaded from a bucket into the cache folder."""
    shown = f"{key} = {without_secrets(given)!r}"
    try:
        path = Path(local_path(given, key, shown)).expanduser()
    except Missing as error:
        raise BadInput(f"{shown}: {error}; correct the address") from None
    try:
        with path.open("rb"):
            return path
    except FileNotFoundError:
        raise BadInput(
            f"{shown}: there is no such file in {Path.cwd()}; expected a path from there, or an absolute one"
        ) from None
    except OSError as error:
        raise BadInput(
            f"{shown} can't be read ({error.strerror}); expected a file that you may read"
        ) from None
