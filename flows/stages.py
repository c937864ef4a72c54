"""Train, score and export one stage of a run, or a control of it, in this process."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, partial

from flows.trainings import Training, second_try
from tasks.cache.cached_task import CacheOptions, Published, cached
from tasks.cache.keys import (
    evaluation,
    exporting,
    featuring,
    fine_tuning,
    head_training,
    training,
)
from tasks.evaluate import evaluate, load_scores
from tasks.export import export
from tasks.features import compute_features, frozen_network, load_computed
from tasks.fine_tune import fine_tune
from tasks.io.checkpoints import Checkpoints, checkpointed
from tasks.io.load import load_dataset
from tasks.monitoring.live import live_progress
from tasks.monitoring.prefect_ui import show_stage
from tasks.runs.stage_result import StageResult
from tasks.store.base import Ref, Store
from tasks.train import TrainedModel, load_trained, train
from tasks.train_head import Origin, train_head
from tasks.vision.data.sample import sample_of
from tasks.vision.data.targets import apply_scheme
from tasks.vision.recipe.controls import Control, controls_of
from tasks.vision.recipe.from_model import found_start
from tasks.vision.recipe.names import start_name
from tasks.vision.recipe.recipe import Recipe
from tasks.vision.recipe.schema import Stage


@dataclass(frozen=True)
class RunContext:
    """What the stages of a run share: the recipe, the data set and its classes, and the store.

    Attributes:
        new: True if the data set was just prepared, so that hardly any training on it is cached.
        networks: the pretrained networks and trained models that stages start from, by the stage's name.
        refreshed: keys of features that were computed again, which one run does once for all heads.
    """

    recipe: Recipe
    data: Ref
    classes: list[str]
    store: Store
    refresh: bool = False
    new: bool = False
    networks: dict[str, Ref] = field(default_factory=dict)
    refreshed: set[str] = field(default_factory=set)

    def start_of(self, training: Training, parent: Ref | None) -> Ref | None:
        """Return what a training starts from: its parent's model, one of `networks`, or nothing."""
        start = self.networks.get(training.stage)
        if training.control == "scratch" or (training.control and start and start.kind == "model"):
            return parent
        return parent or start

    @cached_property
    def checkpointed(self) -> set[str]:
        """Work keys of interrupted trainings, and of finished ones whose checkpoints are still there."""
        return checkpointed(self.store)


def run_stage(
    context: RunContext, name: str, stage: Stage, start: Ref | None, *, exports: bool = True
) -> StageResult:
    """Train `stage` from `start`, score it on the test split and export it, each unless it is cached.

    `exports` is False for a control, which is only trained for comparison.
    """
    if stage.pretrained and start:
        return run_head(context, name, stage, start, exports=exports)
    store, data = context.store, context.data
    scheme = context.recipe.scheme(stage)
    targets = apply_scheme(scheme, context.classes)
    options = CacheOptions(refresh=context.refresh, minutes=stage.timeout_minutes)

    title, work = f"train {name}", training(stage, targets, data, start, context.recipe.seed)
    checkpoints, load = Checkpoints(store, work.key), partial(load_trained, store=store)
    locked = replace(options, locked=context.new or work.key in context.checkpointed)
    call = cached(train, work, store, title, load, locked, on_cached=checkpoints.clear)
    with live_progress(title):
        model, hit = call(
            title, stage, scheme, data, start, context.recipe.seed, checkpoints, store
        )
    return finish_stage(context, name, stage, model, hit, exports=exports)


def run_head(
    context: RunContext, name: str, stage: Stage, start: Ref, *, exports: bool = True
) -> StageResult:
    """Train a head on features of the pretrained network `start`, fine-tune both if asked, score and export.

    A control is the same on a sample of the images, on that network or on one with random weights.
    """
    store, data, seed = context.store, context.data, context.recipe.seed
    scheme = context.recipe.scheme(stage)
    targets = apply_scheme(scheme, context.classes)
    options = CacheOptions(refresh=context.refresh, minutes=stage.timeout_minutes)
    random, sample, digest = None, None, f"sha256:{start.digest}"
    control = stage if isinstance(stage, Control) else None
    if control and control.random:
        random, sample = seed, sample_of(load_dataset(data, store), targets.classes)
        digest = frozen_network(start, random, store).digest

    title, work = f"features {name}", featuring(digest, data, stage.features, sample)
    checkpoints = Checkpoints(store, work.key)
    call_features = cached(
        compute_features,
        work,
        store,
        title,
        partial(load_computed, store=store),
        replace(
            options,
            # A head on a sample uses the features that its stage has just computed.
            refresh=context.refresh
            and work.key not in context.refreshed
            and not (control and sample is None),
            locked=context.new or work.key in context.checkpointed,
        ),
        on_cached=checkpoints.clear,
    )
    context.refreshed.add(work.key)
    with live_progress(title):
        classes = targets.classes if sample else None
        features, _ = call_features(
            title, start, random, stage.features, data, classes, checkpoints, store
        )

    head = stage.head_alone()
    title, work = f"train {name}", head_training(head, targets, work, seed)
    found = found_start(stage)
    origin = Origin(
        network=start,
        random=random,
        file=start_name(stage.pretrained or ""),
        sha256=stage.sha256 or "",
        licence=found.licence if found else "",
        source=found.source if found else "",
    )
    load = partial(load_trained, store=store)
    locked = replace(options, locked=features.seconds > 0)
    call_train = cached(train_head, work, store, title, load, locked)
    model, hit = call_train(title, head, scheme, data, origin, features, store)
    if stage.train == "head":
        return finish_stage(
            context, name, stage, model, hit, exports=exports, features=features.ref
        )

    title, work = f"fine-tune {name}", fine_tuning(stage, targets, work, seed)
    checkpoints = Checkpoints(store, work.key)
    locked = replace(options, locked=not hit or work.key in context.checkpointed)
    call_tune = cached(fine_tune, work, store, title, load, locked, on_cached=checkpoints.clear)
    with live_progress(title):
        model, hit = call_tune(
            title, stage, scheme, data, model.ref, features.ref, seed, checkpoints, store
        )
    return finish_stage(context, name, stage, model, hit, exports=exports)


def finish_stage(
    context: RunContext,
    name: str,
    stage: Stage,
    model: TrainedModel,
    hit: bool,
    *,
    exports: bool,
    features: Ref | None = None,
) -> StageResult:
    """Score a trained model on the test split and export it; `hit` says whether it was cached."""
    store, data = context.store, context.data
    # What is computed from a new model is hardly cached.
    options = CacheOptions(refresh=context.refresh, minutes=stage.timeout_minutes, locked=not hit)
    title, work = f"evaluate {name}", evaluation(model.ref, data, features)
    call_evaluate = cached(evaluate, work, store, title, partial(load_scores, store=store), options)
    scored, _ = call_evaluate(title, model.ref, data, store, features)

    exported: Ref | None = None
    if exports:
        title, work = f"export {name}", exporting(model.ref, model.card)
        written, _ = cached(export, work, store, title, Published.of, options)(
            title, model.ref, store
        )
        exported = written.ref
    result = StageResult(
        start=None if isinstance(stage, Control) and stage.random else stage.start,
        state="cached" if hit else "resumed" if model.card.resumed else "trained",
        model=model.ref,
        card=model.card,
        evaluation=scored.ref,
        scores=scored.scores,
        exported=exported,
    )
    if not hit:  # else an earlier run has shown it
        show_stage(name, result, store, figures=exports)
    return result


def run_training(
    context: RunContext, stage: Stage, training: Training, start: Ref | None
) -> StageResult:
    """Train the stage, or the control of it that `training` names; try again once after an accident."""
    if training.control:
        stage = controls_of(stage, context.recipe.network(stage))[training.control]
    work = partial(
        run_stage, context, training.title, stage, start, exports=training.control is None
    )
    return second_try(f"train {training.title}", work)
