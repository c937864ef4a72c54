"""Task: fine-tune a pretrained network under a head that was trained on its features."""

from __future__ import annotations

import time

from tasks.cache.cached_task import cached_task
from tasks.io.checkpoints import Checkpoints
from tasks.io.load import load_features, load_model, publish_model
from tasks.io.prepared import load_dataset
from tasks.io.training import TrainedModel
from tasks.progress import Event, emit
from tasks.store.base import Ref, Store
from tasks.vision.data.batches.targets import Examples, apply_scheme, training_examples
from tasks.vision.device import find_device, loading_tensorflow
from tasks.vision.pretrained.graph.head_tensors import join_tensors, split_tensors
from tasks.vision.recipe.schema import LabelScheme, Stage
from tasks.vision.training.calibration import calibrate
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
        from tasks.vision.pretrained.compute.features import feature_extractor
        from tasks.vision.pretrained.compute.tunable import FeatureStatistics
        from tasks.vision.training.fine_tuning import fine_tune as run

    data = load_dataset(dataset, store)
    card, tensors = load_model(head, store)
    start = split_tensors(card, tensors)
    targets = apply_scheme(scheme, data.classes)
    seen = FeatureStatistics.of(load_features(features, store)["train"][data.rows("train")])
    train, validation, shift = training_examples(data, targets, stage.balance)
    blocks = f", but for its first {stage.frozen_blocks} blocks" if stage.frozen_blocks else ""
    emit(Event(name, f"{len(train):,} images train {start.network.config.name}{blocks}"))
    with checkpoints.resuming(name):
        tuned = run(
            stage,
            start,
            seen,
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
    clock, network, epochs = time.monotonic(), tuned.model.network, len(tuned.history)
    extract = feature_extractor(network, data.description.image_size, start.features)
    inputs = Examples(extract(validation.inputs), validation.targets)
    model, temperature = calibrate(tuned.model, data, targets, extract(train.inputs), inputs)
    seconds = tuned.seconds + time.monotonic() - clock
    origin = card.pretrained
    assert origin is not None  # else `split_tensors` has refused it
    about = origin.model_copy(
        update={
            "config": network.config.model_dump_json(),
            "digest": network.digest,
            "start": origin.digest,
        }
    )
    card = card.model_copy(
        update={
            "architecture": card.architecture.model_copy(update={"network": about}),
            "train": stage.train,
            "frozen_blocks": stage.frozen_blocks,
            "epochs": epochs,
            "selected_epoch": tuned.selected_epoch,
            "temperature": temperature,
            "seconds": seconds,
            "images_per_second": epochs * len(train) / seconds,
            "resumed": card.resumed or tuned.resumed,
            "history": list(tuned.history),
        }
    )
    made_from = (dataset, head, features)
    return TrainedModel(ref=publish_model(card, join_tensors(model), store, made_from), card=card)
