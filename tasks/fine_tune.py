"""Task: fine-tune a pretrained network under a head that was trained on its features."""

from __future__ import annotations

import numpy as np

from tasks.cache.cached_task import cached_task
from tasks.io.checkpoints import Checkpoints
from tasks.io.load import load_dataset, load_features, load_model, publish_model
from tasks.progress import Event, emit
from tasks.store.base import Ref, Store
from tasks.train import TrainedModel
from tasks.vision.data.targets import apply_scheme, training_examples
from tasks.vision.device import find_device, loading_tensorflow
from tasks.vision.pretrained.head_tensors import join_tensors, split_tensors
from tasks.vision.recipe.schema import LabelScheme, Stage
from tasks.vision.training.state import PreviousPhases


@cached_task
def fine_tune(
    name: str,
    stage: Stage,
    scheme: LabelScheme | None,
    dataset: Ref,
    head: Ref,
    features: Ref,
    seed: int,
    checkpoints: Checkpoints,
    store: Store,
) -> TrainedModel:
    """Fine-tune and publish one model. Its checkpoints stay until its result is in the cache.

    Args:
        head: a model of `train_head`, on these `features`.
    """
    with loading_tensorflow():
        from tasks.vision.training.fine_tuning import fine_tune as run

    data = load_dataset(dataset, store)
    card, tensors = load_model(head, store)
    start = split_tensors(card, tensors)
    targets = apply_scheme(scheme, data.classes)
    scale = load_features(features, store)["train"][data.rows("train")].std(0, dtype=np.float64)
    train, validation, shift = training_examples(data, targets)
    blocks = f", but for its first {stage.frozen_blocks} blocks" if stage.frozen_blocks else ""
    emit(Event(name, f"{len(train):,} images train {start.network.config.name}{blocks}"))
    # Before signals are deferred, so that one still ends the wait for an unavailable store.
    if checkpoints.load():
        emit(Event(name, "resuming from its last checkpoint"))
    with checkpoints.deferring_signals():
        tuned = run(
            stage,
            start,
            scale,
            PreviousPhases(tuple(card.history), card.seconds),
            train,
            validation,
            seed=seed,
            # As an exported model computes, whatever the numeric policy of the machine.
            device=find_device().in_float32,
            prior_shift=shift,
            on_progress=lambda progress: emit(Event(name, detail=progress)),
            checkpointer=checkpoints,
        )
    network, epochs = tuned.model.network, len(tuned.history)
    origin = card.pretrained
    assert origin is not None  # else `split_tensors` has refused it
    about = origin.model_copy(
        update={"config": network.config.model_dump_json(), "digest": network.digest}
    )
    card = card.model_copy(
        update={
            "architecture": card.architecture.model_copy(update={"network": about}),
            "train": stage.train,
            "frozen_blocks": stage.frozen_blocks,
            "epochs": epochs,
            "selected_epoch": tuned.best_epoch,
            "seconds": tuned.seconds,
            "images_per_second": epochs * len(train) / tuned.seconds,
            "resumed": card.resumed or tuned.resumed,
            "history": list(tuned.history),
        }
    )
    tensors = join_tensors(network, tuned.model.kernel, tuned.model.bias)
    made_from = (dataset, head, features)
    return TrainedModel(ref=publish_model(card, tensors, store, made_from), card=card)
