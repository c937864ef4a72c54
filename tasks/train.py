"""Task: train one stage of a recipe, or resume its interrupted training."""

from __future__ import annotations

from tasks.cache.cached_task import cached_task
from tasks.io.checkpoints import Checkpoints
from tasks.io.load import load_model, publish_model
from tasks.io.prepared import load_dataset
from tasks.progress import Event, emit
from tasks.store.base import Ref, Store
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


@cached_task
def train(
    name: str,
    stage: Stage,
    scheme: LabelScheme | None,
    dataset: Ref,
    start: Ref | None,
    seed: int,
    checkpoints: Checkpoints,
    store: Store,
) -> TrainedModel:
    """Train and publish one model. Its checkpoints stay until its result is in the cache.

    Args:
        start: the model to start from.
    """
    with loading_tensorflow():
        from tasks.vision.training.stage import Parent, train_stage

    data = load_dataset(dataset, store)
    targets = apply_scheme(scheme, data.classes)
    parent = Parent(*load_model(start, store)) if start else None

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
            seed=seed,
            device=find_device(),
            parent=parent,
            on_progress=lambda progress: emit(Event(name, detail=progress)),
            checkpointer=checkpoints,
        )
    card = card.model_copy(update={"bits": data.description.bits, "fit": data.description.fit})
    made_from = (dataset, start) if start else (dataset,)
    return TrainedModel(ref=publish_model(card, tensors, store, made_from), card=card)


def load_trained(ref: Ref, store: Store) -> TrainedModel:
    """Load the card of a trained model."""
    return TrainedModel(ref=ref, card=load_model(ref, store)[0])
