"""Task: find the labels of a data set that are probably wrong, after a training."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tasks.cache.cached_task import Published, cached_task
from tasks.io.findings import load_findings, publish_findings
from tasks.io.load import load_features, load_model
from tasks.io.prepared import load_dataset
from tasks.progress import Event, counted, emit
from tasks.store.base import Ref, Store
from tasks.vision.check.findings import ImageFindings, LabelFindings
from tasks.vision.check.held_out import judge_held_out
from tasks.vision.check.out_of_fold import judge_out_of_fold
from tasks.vision.check.whole import Whole
from tasks.vision.recipe.schema import Strict

TITLE = "check labels"


class Evidence(Strict):
    """What labels are judged by.

    Attributes:
        stage: name of the trained stage. model: of it. features: of all images by its frozen network, if it
            has one.
    """

    stage: str
    model: Ref
    features: Ref | None = None


def evidence_of(models: Mapping[str, Ref], labels: Mapping[str, int]) -> Evidence | None:
    """Choose the trained stage that judges labels: with features, then with most labels, then the last.

    Args:
        models: by the stage's name. labels: how many each stage has.
    """
    found = [
        Evidence(stage=name, model=ref, features=_features_of(ref)) for name, ref in models.items()
    ]
    order = [(each.features is not None, labels[each.stage], i) for i, each in enumerate(found)]
    return found[order.index(max(order))] if found else None


def _features_of(model: Ref) -> Ref | None:
    return next((ref for ref in model.made_from if ref.kind == "feature"), None)


@cached_task
def check_labels(dataset: Ref, images: Ref, evidence: Evidence, store: Store) -> Published:
    """Judge the labels: of all images out of fold where there are features, else of those held out.

    Args:
        images: of `check_images`; duplicates are in one fold.
    """
    data = load_dataset(dataset, store)
    if evidence.features:
        whole = Whole.of(data)
        groups = np.arange(len(whole))
        for number, group in enumerate(load_findings(ImageFindings, images, store).duplicates):
            groups[list(group.rows)] = len(whole) + number
        features = whole.joined(load_features(evidence.features, store))
        emit(
            Event(TITLE, f"heads judge the labels of {len(whole):,} images that they have not seen")
        )
        found = judge_out_of_fold(whole, features, groups)
    else:
        emit(Event(TITLE, f"{evidence.stage} judges the labels of validation and test images"))
        found = judge_held_out(data, *load_model(evidence.model, store))
    doubted = counted(len(found.suspicious), "label")
    emit(
        Event(TITLE, f"{doubted} of {found.judged:,} doubted, about {found.wrong:,} of them wrong")
    )
    made_from = (dataset, evidence.features or evidence.model)
    return Published(ref=publish_findings(found, store, made_from))


def load_checked_labels(ref: Ref, store: Store) -> Published:
    """Return the findings at `ref`. Raises ValueError if there is something else."""
    load_findings(LabelFindings, ref, store)
    return Published.of(ref)
