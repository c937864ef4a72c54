"""Task: train a linear head on the features of a frozen pretrained network."""

from __future__ import annotations

import time

import numpy as np

from tasks.cache.cached_task import cached_task
from tasks.features import DatasetFeatures, frozen_network
from tasks.io.load import load_features, publish_model
from tasks.io.prepared import load_dataset
from tasks.io.training import TrainedModel
from tasks.progress import Event, counted, emit
from tasks.store.base import Ref, Store
from tasks.vision.data.batches.balance import balance_shift, target_weights
from tasks.vision.data.batches.sample import sample_of, sampled
from tasks.vision.data.batches.targets import Examples, Targets, apply_scheme
from tasks.vision.data.dataset import Dataset
from tasks.vision.device import cores, find_device
from tasks.vision.pretrained.graph.head_tensors import HeadOnNetwork, join_tensors
from tasks.vision.pretrained.graph.network import PretrainedNetwork
from tasks.vision.recipe.controls import Control
from tasks.vision.recipe.schema import LabelScheme, Stage, Strict
from tasks.vision.trained_model import Architecture, Card, PretrainedCard
from tasks.vision.training.calibration import calibrate
from tasks.vision.training.linear_head import LinearHead, fit_head


class Origin(Strict):
    """The network of a head.

    Attributes:
        network: in the store. random: seed of the weights that replace its own; None leaves those.
        file, sha256: name and hash of the file that it was read from.
        licence, source: of its weights, and its paper, where they are known.
    """

    network: Ref
    random: int | None
    file: str
    sha256: str
    licence: str = ""
    source: str = ""


@cached_task
def train_head(
    name: str,
    stage: Stage,
    scheme: LabelScheme | None,
    dataset: Ref,
    origin: Origin,
    features: DatasetFeatures,
    store: Store,
) -> TrainedModel:
    """Train and publish a head, together with the network that it was trained on."""
    started = time.monotonic()
    data, inputs = load_dataset(dataset, store), load_features(features.ref, store)
    targets = apply_scheme(scheme, data.classes)
    if isinstance(stage, Control) and stage.sample:
        sample = sample_of(data, targets.classes)
        data, inputs = sampled(data, sample), sample.taken_from(inputs)
    train, validation = (
        _examples(data, targets, inputs["train"], split) for split in ("train", "validation")
    )
    emit(Event(name, f"{len(train):,} images train a head on their features"))
    shift = targets.prior_shift(data.classes, data.labels("train"))
    shift = shift + balance_shift(train.targets, len(targets.labels), stage.balance)
    weights = target_weights(train.targets, len(targets.labels), stage.balance)
    head = fit_head(train, validation, targets.outputs, shift, weights, threads=cores())
    network = frozen_network(origin.network, origin.random, store)
    model = HeadOnNetwork(network, stage.features, head.kernel, head.bias)
    model, temperature = calibrate(model, data, targets, train.inputs, validation)
    seconds = features.seconds + time.monotonic() - started
    best = head.path[head.chosen]
    emit(
        Event(
            name,
            f"L2 penalty {best.strength:g}, the best of {counted(len(head.path), 'strength')} on "
            f"validation: loss {best.validation_loss:.3f}, accuracy {best.validation_accuracy:.3f}",
        )
    )
    card = _card(stage, targets, data, origin, network, head, len(train), seconds)
    card = card.model_copy(update={"temperature": temperature, "resumed": features.resumed})
    made_from = (dataset, origin.network, features.ref)
    return TrainedModel(ref=publish_model(card, join_tensors(model), store, made_from), card=card)


def _examples(data: Dataset, targets: Targets, inputs: np.ndarray, split: str) -> Examples:
    labels, limited = data.labels(split), split == "train"
    chosen, indices = targets.select(data.classes, labels, limited=limited)
    return Examples(inputs[data.rows(split)[chosen]], indices)


def _card(
    stage: Stage,
    targets: Targets,
    data: Dataset,
    origin: Origin,
    network: PretrainedNetwork,
    head: LinearHead,
    images: int,
    seconds: float,
) -> Card:
    best = head.path[head.chosen]
    return Card(
        architecture=Architecture(
            network=PretrainedCard(
                name=network.config.name,
                config=network.config.model_dump_json(),
                digest=network.digest,
                classes=network.classes,
                file=origin.file,
                sha256=origin.sha256,
                licence=origin.licence,
                source=origin.source,
                random=origin.random is not None,
            ),
            image_size=data.description.image_size,
            outputs=targets.outputs,
            # The network prepares its images itself.
            mean=(0.0, 0.0, 0.0),
            std=(1 / 255, 1 / 255, 1 / 255),
            features=stage.features,
        ),
        labels=targets.labels,
        classes=targets.classes,
        train=stage.train,
        bits=data.description.bits,
        fit=data.description.fit,
        # One pass over the images gives their features; the head's solution needs no more of them.
        epochs=1,
        selected_epoch=1,
        seconds=seconds,
        images=images,
        images_per_second=images / seconds,
        sample=isinstance(stage, Control) and stage.sample,
        flip=False,
        device=str(find_device().in_float32),
        history=[{"epoch": 1, **best.model_dump(exclude={"strength"}), "seconds": seconds}],
        penalties=list(head.path),
        penalty=best.strength,
    )
