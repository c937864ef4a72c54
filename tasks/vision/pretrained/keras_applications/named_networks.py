"""The networks of Keras with published ImageNet weights, by the name that a recipe gives them.

imagenet.csv beside this module lists them. Addresses and hashes are those in Keras' own source
(`keras/src/applications`); for MobileNet v1 and v2 it has no hash. Licences are those under which the authors
published their weights.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal, cast

from tasks.vision.errors import BadInput, nearest
from tasks.vision.files.download import Published
from tasks.vision.pretrained.keras_applications.preprocessing import Preprocessing
from tasks.vision.recipe.names import IMAGENET

SITE = "https://storage.googleapis.com/"


@dataclass(frozen=True)
class NamedNetwork:
    """A network of `keras.applications`, up to its global average pooling.

    Attributes:
        constructor: its function in `keras.applications`.
        size: pixels per side of the images that it was trained on.
        preprocessing: how it expects its pixels.
        weights: the file with its weights.
        source: the paper that describes it.
    """

    name: str
    constructor: str
    size: int
    preprocessing: Preprocessing
    weights: Published
    licence: str
    source: str

    @property
    def start(self) -> str:
        """Its name in a recipe, `imagenet/NAME`."""
        return IMAGENET + self.name


def named_network(start: str) -> NamedNetwork:
    """Return the network that a stage's start names, `imagenet/NAME`.

    Raises:
        BadInput: there is none of this name.
    """
    known = named_networks()
    if start not in known:
        raise BadInput(f"start = {start!r}{nearest(start, known)}")
    return known[start]


@cache
def named_networks() -> dict[str, NamedNetwork]:
    """Return all networks by their names in a recipe."""
    text = files(__package__).joinpath("imagenet.csv").read_text()
    networks = [_network(*row) for row in list(csv.reader(text.splitlines()))[1:]]
    return {network.start: network for network in networks}


def _network(
    name: str,
    constructor: str,
    size: str,
    preprocessing: str,
    licence: str,
    source: str,
    address: str,
    megabytes: str,
    digest: str,
) -> NamedNetwork:
    algorithm: Literal["sha256", "md5"] = "sha256" if len(digest) == 64 else "md5"
    what = f"the weights of {IMAGENET}{name}"
    weights = Published(what, SITE + address, digest or None, algorithm, int(megabytes))
    scaling = cast("Preprocessing", preprocessing)
    return NamedNetwork(name, constructor, int(size), scaling, weights, licence, source)
