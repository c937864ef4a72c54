"""What the stages of a recipe start from besides each other: pretrained networks and trained models."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from os.path import expanduser

import numpy as np

from tasks.io.load import publish_network
from tasks.io.locations import find_data
from tasks.io.networks import NetworkFile, check_fits, read_network
from tasks.runs.lookup import FoundModel, find_by_hash, look_up
from tasks.store.addresses import check_scheme, without_secrets
from tasks.store.base import Damaged, Missing, Ref, Store
from tasks.vision.errors import BadInput
from tasks.vision.pretrained.graph.head_tensors import split_tensors
from tasks.vision.pretrained.graph.network import PretrainedNetwork
from tasks.vision.recipe.from_model import FindModel, StartModel
from tasks.vision.recipe.recipe import Recipe
from tasks.vision.recipe.schema import Stage

Models = dict[tuple[str, str], FoundModel]  # by address and SHA-256 of the file


def models_in(store: str, read: Models | None = None) -> FindModel:
    """Return a function that looks up the trained models that stages start from, for `parse_recipe`.

    Args:
        read: those that were read already; others are added, for `Starts`.
    """

    def find(name: str, stage: Stage) -> StartModel:
        found = _find(name, stage, store, {} if read is None else read)
        about, head = found.card.architecture, found.card.pretrained
        return StartModel(
            address=found.address,
            sha256=found.ref.sha256,
            image_size=about.image_size,
            network=None if head else about.own_network,
            fit=found.card.fit,
            licence=head.licence if head else "",
            source=head.source if head else "",
        )

    return find


def other_fits(recipe: Recipe) -> Iterator[str]:
    """Yield a line for each stage whose start, a trained model, saw pictures made square in another way.

    It is no error, since a network takes any squares and goes on learning; nobody should do so unawares.
    """
    for name, found in recipe.models.items():
        if found.fit != recipe.data.fit:
            yield (
                f"stages.{name} starts from a model that was trained with data.fit = {found.fit!r}, and "
                f"goes on with {recipe.data.fit!r}; set data.fit = {found.fit!r} to keep it"
            )


class Starts:
    """The networks and models that stages of a recipe start from, read once."""

    def __init__(
        self,
        recipe: Recipe,
        stages: dict[str, Stage],
        data: str,
        store: str,
        read: Models | None = None,
    ) -> None:
        """Read them, after checking that the images exist, since weights may have to be downloaded.

        Args:
            stages: of the recipe, whose trained models were looked up. data: as the recipe or --data names it.
            store: address of the store that has the models RUN/STAGE. read: models that were read already.

        Raises:
            BadInput, StoreError: as `find_data` and `read_network` do; or a model is gone or damaged.
        """
        pretrained = any(stage.pretrained for stage in stages.values())
        if pretrained and "://" not in data:  # else that is a download too
            find_data(data)
        self._recipe, self._store, self._read = recipe, store, {} if read is None else read
        self._networks: dict[str, NetworkFile] = {}
        self._models: dict[str, FoundModel] = {}
        for name, stage in stages.items():
            if stage.pretrained:
                self._networks[name] = self._network(name, stage)
            elif stage.model:
                self._models[name] = _find(name, stage, store, self._read)

    @property
    def recipe(self) -> Recipe:
        """The recipe with the hashes of the files."""
        hashes = {name: each.sha256 for name, each in self._networks.items()}
        return self._recipe.with_hashes(hashes)

    @property
    def models(self) -> dict[str, Ref]:
        """The models by the stage that starts from them, which may not be in the store yet.

        Without their own lineage, which would grow with every run that starts from an earlier one.
        """
        bare = {"made_from": ()}
        return {name: each.ref.model_copy(update=bare) for name, each in self._models.items()}

    def publish(self, store: Store) -> dict[str, Ref]:
        """Store networks and models, so that workers need no files; return their refs by stage."""
        for each in self._models.values():
            if each.file is not None:
                store.put("model", each.file, ".safetensors", digest=each.ref.digest)
            else:
                store.touch(each.ref.uri)  # in use: its run may be removed meanwhile
        networks = {
            name: publish_network(each.network, store) for name, each in self._networks.items()
        }
        return {**networks, **self.models}

    def network(self, stage: str) -> PretrainedNetwork:
        """Return the pretrained network that a stage starts from."""
        return self._networks[stage].network

    def _network(self, name: str, stage: Stage) -> NetworkFile:
        size = self._recipe.data.image_size
        if not stage.model:
            return read_network(name, stage, size)
        found = _find(name, stage, self._store, self._read)
        network = split_tensors(found.card, found.tensors).network
        check_fits(name, stage, network, size)
        return NetworkFile(network, found.ref.sha256)


def _find(name: str, stage: Stage, store: str, read: Models) -> FoundModel:
    """Look up the model that the stage called `name` starts from, and check its hash."""
    given = stage.start or ""
    if known := read.get((given, stage.sha256 or "")):
        return known
    shown = f"stages.{name}.start = {without_secrets(given)!r}"
    check_scheme(given, f"stages.{name}.start")
    if "://" in given and not given.startswith("s3://"):
        raise BadInput(f"{shown} can't be fetched from here; give a path or s3://bucket/prefix")
    try:
        found = look_up(store, expanduser(given))  # noqa: PTH111
    except (BadInput, Missing, Damaged) as error:
        # Its run or folder may be gone, and the store may still have what a later run has started from.
        if stage.sha256 and (stored := find_by_hash(store, stage.sha256, given)):
            return stored
        raise BadInput(f"{shown}: {error}") from None
    if stage.sha256 not in (None, found.ref.sha256):
        raise BadInput(
            f"{shown}: the SHA-256 of that model's file is {found.ref.sha256}, the recipe expects "
            f"{stage.sha256}; give the right model, or correct sha256"
        )
    if not _is_finite(found):
        raise BadInput(
            f"{shown}: that model's weights, or its scaling of images, are not finite; train it again"
        )
    read[found.address, found.ref.sha256] = found
    return found


def _is_finite(found: FoundModel) -> bool:
    about = found.card.architecture
    scaled = all(map(isfinite, (*about.mean, *about.std))) and min(about.std) > 0
    return scaled and all(np.isfinite(each).all() for each in found.tensors.values())
