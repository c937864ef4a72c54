"""Task: compute the features of a frozen pretrained network for all images of a data set, once."""

from __future__ import annotations

from tasks.cache.cached_task import cached_task
from tasks.io.checkpoints import Checkpoints
from tasks.io.load import load_features, load_network, publish_features
from tasks.io.prepared import load_dataset
from tasks.progress import Event, emit
from tasks.store.base import Ref, Store
from tasks.vision.data.batches.sample import sample_of, sampled
from tasks.vision.device import find_device, loading_tensorflow
from tasks.vision.pretrained.graph.feature_points import Features, feature_width
from tasks.vision.pretrained.graph.network import PretrainedNetwork
from tasks.vision.pretrained.graph.random_weights import random_weights
from tasks.vision.recipe.schema import Strict
from tasks.vision.training.dataset_features import features_of


class DatasetFeatures(Strict):
    """Features in the store, and what computing them took: 0 seconds if they were there already."""

    ref: Ref
    seconds: float = 0.0
    resumed: bool = False


def frozen_network(ref: Ref, random: int | None, store: Store) -> PretrainedNetwork:
    """Load a network; with a seed `random`, the same with random weights, for comparison."""
    network = load_network(ref, store)
    return network if random is None else random_weights(network, random)


@cached_task
def compute_features(
    name: str,
    network: Ref,
    random: int | None,
    kind: Features,
    dataset: Ref,
    sample: list[list[str]] | None,
    checkpoints: Checkpoints,
    store: Store,
) -> DatasetFeatures:
    """Compute and publish the features of all images, those of validation and test included.

    Args:
        random: seed of the weights that replace the network's own; None leaves those.
        sample: the groups of classes of which a sample of the images is enough; None for all images.
    """
    frozen, data = frozen_network(network, random, store), load_dataset(dataset, store)
    if sample is not None:
        data = sampled(data, sample_of(data, sample))
    with loading_tensorflow():
        from tasks.vision.network.runtime import set_up
        from tasks.vision.pretrained.compute.features import batch_size, feature_extractor

    # As an exported model computes, whatever the numeric policy of the machine.
    set_up(find_device().in_float32)
    extract = feature_extractor(frozen, data.description.image_size, kind)
    images = sum(len(data.stored_images(split)) for split in ("train", "test"))
    emit(Event(name, f"{images:,} images pass {frozen.config.name} once"))
    with checkpoints.resuming(name):
        found = features_of(
            data,
            extract,
            feature_width(frozen, kind),
            batch_size(data.description.image_size),
            on_progress=lambda progress: emit(Event(name, detail=progress)),
            checkpointer=checkpoints,
        )
    emit(Event(name, f"{images:,} images in {found.seconds:.1f} s"))
    ref = publish_features(found.arrays, store, (dataset, network))
    return DatasetFeatures(ref=ref, seconds=found.seconds, resumed=found.resumed)


def load_computed(ref: Ref, store: Store) -> DatasetFeatures:
    """Return the features at `ref`. Raises ValueError if there is something else."""
    load_features(ref, store)
    return DatasetFeatures(ref=ref)
