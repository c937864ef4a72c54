"""Train a stage that starts from a pretrained network: features, a head on them, and fine-tuning if asked."""

from __future__ import annotations

from dataclasses import dataclass, replace

from flows.training.run_context import RunContext
from tasks.cache.cached_task import cached
from tasks.cache.keys import featuring, fine_tuning, head_training
from tasks.cache.records import Work
from tasks.features import DatasetFeatures, compute_features, frozen_network, load_computed
from tasks.fine_tune import fine_tune
from tasks.io.checkpoints import Checkpoints
from tasks.io.prepared import load_dataset
from tasks.io.training import TrainedModel
from tasks.monitoring.live import live_progress
from tasks.store.base import Ref
from tasks.train import load_trained
from tasks.train_head import Origin, train_head
from tasks.vision.data.batches.sample import sample_of
from tasks.vision.pretrained.keras_applications.named_networks import named_networks
from tasks.vision.recipe.controls import Control
from tasks.vision.recipe.from_model import found_start
from tasks.vision.recipe.names import start_name
from tasks.vision.recipe.schema import Stage


@dataclass(frozen=True)
class Done:
    """Result of a training step: its work, the model, and whether it was cached."""

    work: Work
    model: TrainedModel
    hit: bool


def train_on_network(
    context: RunContext, name: str, stage: Stage, start: Ref
) -> tuple[TrainedModel, bool, Ref | None]:
    """Train a head on the network `start`, then both if the stage asks for it, each unless it is cached.

    A control trains a head on a sample of the images, on that network or on one with random weights.

    Returns:
        The model, whether it was cached, and the features that its head sees; None after fine-tuning.
    """
    random = context.recipe.seed if isinstance(stage, Control) and stage.random else None
    work, features = _features(context, name, stage, start, random)
    about = named_networks().get(stage.pretrained or "") or found_start(stage)
    origin = Origin(
        network=start,
        random=random,
        file=start_name(stage.pretrained or ""),
        sha256=stage.sha256 or "",
        licence=about.licence if about else "",
        source=about.source if about else "",
    )
    head = _head(context, name, stage.head_alone(), origin, work, features)
    if stage.train == "head":
        return head.model, head.hit, features.ref
    tuned = _fine_tuned(context, name, stage, head, features.ref)
    return tuned.model, tuned.hit, None


def _features(
    context: RunContext, name: str, stage: Stage, start: Ref, random: int | None
) -> tuple[Work, DatasetFeatures]:
    store, data, targets = context.store, context.data, context.targets_of(stage)
    control, sample, digest = isinstance(stage, Control), None, f"sha256:{start.digest}"
    known = load_dataset(data, store)
    if random is not None:
        sample = sample_of(known, targets.classes)
        digest = frozen_network(start, random, store).digest
    images = known.description.images or data.digest
    title, work = f"features {name}", featuring(digest, images, stage.features, sample)
    checkpoints, load = Checkpoints(store, work.key), load_computed
    # One run computes them again once for all heads; one on a sample uses those of its stage.
    again = context.refresh and work.key not in context.refreshed and not (control and not sample)
    options = context.options(stage, locked=context.probably_uncached(work.key))
    options = replace(options, refresh=again)
    call = cached(compute_features, work, store, title, load, options, on_cached=checkpoints.clear)
    context.refreshed.add(work.key)
    classes = targets.classes if sample else None
    with live_progress(title):
        features, _ = call(title, start, random, stage.features, data, classes, checkpoints, store)
    return work, features


def _head(
    context: RunContext,
    name: str,
    stage: Stage,
    origin: Origin,
    inputs: Work,
    features: DatasetFeatures,
) -> Done:
    store, scheme, seed = context.store, context.recipe.scheme(stage), context.recipe.seed
    title = f"train {name}"
    work = head_training(stage, context.targets_of(stage), context.data, inputs, seed)
    options = context.options(stage, locked=features.seconds > 0)
    call = cached(train_head, work, store, title, load_trained, options)
    model, hit = call(title, stage, scheme, context.data, origin, features, store)
    return Done(work, model, hit)


def _fine_tuned(context: RunContext, name: str, stage: Stage, head: Done, features: Ref) -> Done:
    store, scheme, seed = context.store, context.recipe.scheme(stage), context.recipe.seed
    title = f"fine-tune {name}"
    work = fine_tuning(stage, context.targets_of(stage), head.work, seed)
    checkpoints, load = Checkpoints(store, work.key), load_trained
    options = context.options(stage, locked=not head.hit or context.probably_uncached(work.key))
    call = cached(fine_tune, work, store, title, load, options, on_cached=checkpoints.clear)
    given = (context.data, head.model.ref, features, seed, checkpoints, store)
    with live_progress(title):
        model, hit = call(title, stage, scheme, *given)
    return Done(work, model, hit)
