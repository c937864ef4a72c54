"""Plan of a run: for each step whether it is cached, and if not, how it differs from earlier work.

Reads only the store: no server, no TensorFlow, nothing is trained or written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tasks.cache.history import History, PlannedTraining
from tasks.cache.keys import featuring, fine_tuning, head_training, preparation, training
from tasks.cache.records import Work
from tasks.io.locations import find_data
from tasks.io.prepared import load_dataset
from tasks.runs.starts import Starts
from tasks.store.base import Ref
from tasks.vision.data.batches.sample import sample_of
from tasks.vision.data.batches.targets import Targets, apply_scheme
from tasks.vision.data.sources import classes_in, fingerprint
from tasks.vision.pretrained.graph.random_weights import random_weights
from tasks.vision.recipe.controls import Control, controls_of
from tasks.vision.recipe.recipe import Recipe


@dataclass(frozen=True)
class PlannedStep:
    """A step of a run: whether it is cached, the reason, and the estimated seconds (None: unknown)."""

    name: str
    hit: bool
    reason: str
    seconds: float | None = 0.0


def plan_steps(
    recipe: Recipe, data: str | None, store: str, stages: list[str], *, refresh: bool = False
) -> Iterator[PlannedStep]:
    """Plan the steps of a run in order, including controls.

    Raises:
        BadInput: the data can't be used. StoreError: the store is unavailable.
    """
    history, chosen = History(store), recipe.ordered(stages)
    starts = Starts(recipe, chosen, data or recipe.data.source, store)
    source = find_data(data or recipe.data.source)
    work = preparation(recipe.data, fingerprint(source))
    images, why = history.lookup(work)
    known = load_dataset(images, history.store) if images else None
    classes = known.classes if known else classes_in(source)
    targets = {name: apply_scheme(recipe.scheme(stage), classes) for name, stage in chosen.items()}
    counts = {
        name: len(each.select(classes, known.labels("train"))[0])
        for name, each in targets.items()
        if known
    }
    images = None if refresh else images
    yield PlannedStep("prepare data", images is not None, "refresh" if refresh else why)
    models: dict[str, Ref | None] = {}
    computed: set[str] = set()  # keys of features that an earlier step computes
    for name, stage in chosen.items():
        start = models[stage.parent] if stage.parent else starts.models.get(name)
        models[name] = None
        for title, each, parent in [
            (name, stage, stage.parent),
            *(
                (f"{name}, {kind}", c, None)
                for kind, c in controls_of(stage, recipe.network(stage)).items()
            ),
        ]:
            size, seed = recipe.data.image_size, recipe.seed
            control = each if isinstance(each, Control) else None
            if control and control.max_image_size:
                size = min(size, control.max_image_size)
            job = PlannedTraining(each, recipe.network(each), size, counts.get(name))
            if each.pretrained and images and known:
                frozen, sample = starts.network(name), None
                if control and control.random:
                    frozen = random_weights(frozen, seed)
                    sample = sample_of(known, targets[name].classes)
                    trained = set(sample.train.tolist()) & set(known.rows("train").tolist())
                    job = replace(job, images=len(trained))
                pixels = known.description.images or images.digest
                work = featuring(frozen.digest, pixels, each.features, sample)
                yield from _head_steps(
                    history, job, title, targets[name], images, work, seed, computed
                )
                computed.add(work.key)
                continue
            if images is None:
                blocked = "refresh" if refresh else "its images are not prepared yet"
            elif parent and start is None:
                blocked = f"{parent} is trained first"
            else:
                begin = start if title == name else None
                step, ref = _step(history, job, title, targets[name], images, begin, recipe.seed)
                if title == name:
                    models[name] = ref
                yield step
                continue
            if each.pretrained:
                yield PlannedStep(f"features {title}", False, blocked, None)
                yield PlannedStep(title, False, blocked, None)
                if each.train == "head then all":
                    yield PlannedStep(f"fine-tune {title}", False, blocked, None)
            else:
                yield PlannedStep(title, False, blocked, history.estimate(job))


def _head_steps(
    history: History,
    job: PlannedTraining,
    title: str,
    targets: Targets,
    dataset: Ref,
    features: Work,
    seed: int,
    before: set[str],
) -> Iterator[PlannedStep]:
    """Plan the features of a pretrained network, the head on them, and fine-tuning.

    Args:
        before: keys of features that earlier steps compute.
    """
    alone = replace(job, stage=job.stage.head_alone())
    head = head_training(alone.stage, targets, dataset, features, seed)
    computed, why = history.lookup(features)
    if computed is None and features.key in before:
        yield PlannedStep(f"features {title}", False, "computed by a step before")
    else:
        # The seconds of a head are those of its features, which take nearly all of them.
        seconds = 0.0 if computed else history.estimate(alone, head)
        yield PlannedStep(f"features {title}", computed is not None, why, seconds)
    trained, why = history.lookup(head)
    yield PlannedStep(title, trained is not None, why)
    if job.stage.train == "head then all":
        work = fine_tuning(job.stage, targets, head, seed)
        tuned, why = history.lookup(work)
        seconds = 0.0 if tuned else history.estimate(job, work)
        yield PlannedStep(f"fine-tune {title}", tuned is not None, why, seconds)


def _step(
    history: History,
    job: PlannedTraining,
    title: str,
    targets: Targets,
    images: Ref,
    start: Ref | None,
    seed: int,
) -> tuple[PlannedStep, Ref | None]:
    work = training(job.stage, targets, images, start, seed)
    ref, why = history.lookup(work)
    if ref:
        return PlannedStep(title, True, why), ref
    return PlannedStep(title, False, why, history.estimate(job, work)), None
