"""Task: train one stage of a recipe, or go on with one that was stopped."""

from __future__ import annotations

from typing import Any

from tasks.cache.cached_task import step
from tasks.cache.records import Done, Work
from tasks.io.checkpoints import Checkpoints
from tasks.io.load import load_dataset, load_model, publish_model
from tasks.progress import Event, emit
from tasks.store.base import Ref
from tasks.store.opening import open_store
from tasks.vision.data.targets import apply_scheme, training_examples
from tasks.vision.device import find_device, loading_tensorflow
from tasks.vision.recipe.schema import LabelScheme, Stage


@step
def train(
    name: str,
    stage: dict[str, Any],
    scheme: dict[str, Any] | None,
    dataset: dict[str, Any],
    start: dict[str, Any] | None,
    seed: int,
    work: dict[str, Any],
    store: str,
) -> Any:
    """Train and publish one model; returns its ref. Its checkpoints stay until the cache knows that.

    Args:
        stage, scheme: of the recipe, as JSON. dataset, start: refs, as JSON.
        work: the ingredients of the cache key, under which checkpoints are kept too.
    """
    with loading_tensorflow():
        from tasks.vision.training.stage import Parent, train_stage

    home = open_store(store)
    data_ref = Ref.model_validate(dataset)
    start_ref = Ref.model_validate(start) if start else None
    data = load_dataset(data_ref, store)
    targets = apply_scheme(LabelScheme.model_validate(scheme) if scheme else None, data.classes)
    parent = Parent(*load_model(start_ref, store)) if start_ref else None

    learn, check, shift = training_examples(data, targets)
    parameters = Stage.model_validate(stage)
    what = {"all": "all layers", "head": "a head", "head then all": "a head, then all layers"}
    emit(Event(name, f"{len(learn):,} images train {what[parameters.train]}"))
    checkpoints = Checkpoints(home, Work("train", work).key)
    # While a signal still ends the waiting for a store that is out of reach.
    if checkpoints.load():
        emit(Event(name, "goes on from its last checkpoint"))
    with checkpoints.heeding_signals():
        card, tensors = train_stage(
            parameters,
            targets,
            learn,
            check,
            prior_shift=shift,
            seed=seed,
            device=find_device(),
            parent=parent,
            watch=lambda progress: emit(Event(name, detail=progress)),
            memory=checkpoints,
        )
    ref = publish_model(card, tensors, store, (data_ref, *([start_ref] if start_ref else [])))
    return Done(ref=ref, ingredients=work).model_dump(mode="json")
