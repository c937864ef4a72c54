"""The training of a model from what is in the store, in this process: alone, or as one machine of several."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tasks.io.checkpoints import Checkpoints
from tasks.io.load import load_model, publish_model
from tasks.io.prepared import load_dataset
from tasks.progress import Event, emit
from tasks.store.base import Ref, Store
from tasks.vision.cluster import Cluster
from tasks.vision.data.batches.targets import apply_scheme, training_examples
from tasks.vision.device import find_device, loading_tensorflow
from tasks.vision.recipe.controls import Control
from tasks.vision.recipe.schema import LabelScheme, Stage, Strict
from tasks.vision.trained_model import Card

TRAINED = {"all": "all layers", "head": "a head", "head then all": "a head, then all layers"}


class TrainedModel(Strict):
    """A model in the store, and its card."""

    ref: Ref
    card: Card


@dataclass(frozen=True)
class TrainingInputs:
    """What a model is trained from.

    Attributes:
        start: the model to start from.
    """

    stage: Stage | Control
    scheme: LabelScheme | None
    dataset: Ref
    start: Ref | None
    seed: int


def train_model(
    name: str,
    work: TrainingInputs,
    checkpoints: Checkpoints,
    store: Store,
    cluster: Cluster | None = None,
    on_joined: Callable[[], None] = lambda: None,
) -> TrainedModel | None:
    """Train a model to its end, or resume it, and publish it; None on all machines but the first.

    Args:
        name: of the task, for its progress. cluster: the machines that do so together.
        on_joined: called once TensorFlow has found all machines.
    """
    with loading_tensorflow():
        from tasks.vision.training.stage import Parent, train_stage

    stage = work.stage
    data = load_dataset(work.dataset, store)
    targets = apply_scheme(work.scheme, data.classes)
    parent = Parent(*load_model(work.start, store)) if work.start else None

    max_size = stage.max_image_size if isinstance(stage, Control) else None
    train, validation, shift = training_examples(data, targets, stage.balance, max_size)
    emit(Event(name, f"{len(train):,} images train {TRAINED[stage.train]}"))
    with checkpoints.resuming(name):
        card, tensors = train_stage(
            stage,
            targets,
            train,
            validation,
            prior_shift=shift,
            seed=work.seed,
            device=find_device(),
            parent=parent,
            on_progress=lambda progress: emit(Event(name, detail=progress)),
            checkpointer=checkpoints,
            cluster=cluster,
            on_joined=on_joined,
        )
    if cluster and cluster.index:
        return None
    card = card.model_copy(update={"bits": data.description.bits, "fit": data.description.fit})
    made_from = (work.dataset, work.start) if work.start else (work.dataset,)
    return TrainedModel(ref=publish_model(card, tensors, store, made_from), card=card)
