"""Train, score and export one stage of a run, or a control of it, in this process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from flows.training.machines import check_group
from flows.training.pretrained import train_on_network
from flows.training.run_context import RunContext
from flows.training.trainings import Outcomes, Training, second_try
from tasks.cache.cached_task import Published, cached
from tasks.cache.keys import evaluation, exporting, training
from tasks.evaluate import Scored, evaluate, load_scores
from tasks.export import export
from tasks.io.checkpoints import Checkpoints
from tasks.io.training import TrainedModel
from tasks.monitoring.live import live_progress
from tasks.monitoring.prefect_ui import show_stage
from tasks.runs.stage_result import StageResult
from tasks.store.base import Ref, StoreError
from tasks.train import load_trained, train
from tasks.vision.recipe.controls import Control, controls_of
from tasks.vision.recipe.schema import Stage


def run_stage(
    context: RunContext,
    name: str,
    stage: Stage,
    start: Ref | None,
    *,
    exports: bool = True,
    split: Scored = "test",
) -> StageResult:
    """Train `stage` from `start`, score it on `split` and export it, each unless it is cached.

    `exports` is False for what is trained for comparison alone: a control, or a setting of a sweep.
    """
    if stage.pretrained and start:
        model, hit, features = train_on_network(context, name, stage, start)
        return finish_stage(
            context, name, stage, model, hit, exports=exports, features=features, split=split
        )
    store, data, seed = context.store, context.data, context.recipe.seed
    scheme, targets = context.recipe.scheme(stage), context.targets_of(stage)
    title, work = f"train {name}", training(stage, targets, data, start, seed)
    checkpoints = Checkpoints(store, work.key)
    options = context.options(stage, locked=context.probably_uncached(work.key))
    call = cached(train, work, store, title, load_trained, options, on_cached=checkpoints.clear)
    with live_progress(title):
        group = check_group(name, stage, context.group)
        model, hit = call(title, stage, scheme, data, start, seed, checkpoints, store, group)
    return finish_stage(context, name, stage, model, hit, exports=exports, split=split)


def finish_stage(
    context: RunContext,
    name: str,
    stage: Stage,
    model: TrainedModel,
    hit: bool,
    *,
    exports: bool,
    features: Ref | None = None,
    split: Scored = "test",
) -> StageResult:
    """Score a trained model on `split` and export it; `hit` says whether it was cached."""
    store, data = context.store, context.data
    # What is computed from a new model is probably not cached.
    options = context.options(stage, locked=not hit)
    title, work = f"evaluate {name}", evaluation(model.ref, data, features, split)
    call_evaluate = cached(evaluate, work, store, title, load_scores, options)
    scored, _ = call_evaluate(title, model.ref, data, store, features, split)

    exported: Ref | None = None
    if exports:
        title, work = f"export {name}", exporting(model.ref, model.card)
        call_export = cached(export, work, store, title, Published.of, options)
        exported = call_export(title, model.ref, store)[0].ref
    result = StageResult(
        start=None if isinstance(stage, Control) and stage.random else stage.start,
        state="cached" if hit else "resumed" if model.card.resumed else "trained",
        model=model.ref,
        card=model.card,
        evaluation=scored.ref,
        scores=scored.scores,
        exported=exported,
    )
    if not hit and split == "test":  # else an earlier run has shown it, or a sweep will
        show_stage(name, result, store, figures=exports)
    return result


def run_training(
    context: RunContext,
    stage: Stage,
    training: Training,
    start: Ref | None,
    split: Scored = "test",
) -> StageResult:
    """Train the stage, or the control of it that `training` names; try again once after an accident."""
    if training.control:
        stage = controls_of(stage, context.recipe.network(stage))[training.control]
    exports = training.control is None and split == "test"
    work = partial(run_stage, context, training.title, stage, start, exports=exports, split=split)
    return second_try(f"train {training.title}", work)


def run_trainings(
    context: RunContext, stages: Mapping[str, Stage], trainings: Iterable[Training]
) -> Outcomes:
    """Train one after the other in this process; one that fails stops only those that start from it.

    Args:
        stages: those that `trainings` name.
    """
    outcomes = Outcomes()
    for each in trainings:
        if outcomes.leave_out(each):
            continue
        start = context.start_of(each, outcomes.start_of(each))
        try:
            outcomes.add(each, run_training(context, stages[each.stage], each, start))
        except StoreError:
            raise  # all others need it, too
        except Exception as error:
            outcomes.fail(each.title, error)
    return outcomes


def run_chain(context: RunContext, stage: str, split: Scored = "test") -> StageResult:
    """Train a stage, and first those that it starts from; return its own result."""
    done: dict[str, StageResult] = {}
    for name, each in context.recipe.ordered([stage]).items():
        training = Training(name, parent=each.parent)
        start = context.start_of(training, done[each.parent].model if each.parent else None)
        done[name] = run_training(context, each, training, start, split)
    return done[stage]
