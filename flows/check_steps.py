"""The steps of a check of a data set that a run and the flow `check-data` share."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from tasks.cache.cached_task import CacheOptions, cached
from tasks.cache.check_keys import checking_images, checking_labels
from tasks.check_images import check_images, load_checked_images
from tasks.check_labels import Evidence, check_labels, evidence_of, load_checked_labels
from tasks.io.findings import FindingRefs
from tasks.progress import Event, emit
from tasks.runs.listing import Runs
from tasks.runs.stage_result import StageResult
from tasks.runs.summary import read_lineage
from tasks.store.base import Missing, Ref, Store
from tasks.vision.data.dataset import Description
from tasks.vision.errors import BadInput

MINUTES = 24 * 60
MOST_IN_RUN = 1 << 30  # bytes of images


def check_dataset(
    dataset: Ref,
    evidence: Evidence | None,
    store: Store,
    *,
    refresh: bool = False,
    new: bool = False,
) -> FindingRefs:
    """Check a data set's images, and judge its labels by the evidence, each unless it is cached.

    Args:
        new: whether the data set was just prepared, so that nothing about it is cached.
    """
    options = CacheOptions(refresh=refresh, minutes=MINUTES, locked=new)
    work = checking_images(dataset)
    call = cached(check_images, work, store, "check images", load_checked_images, options)
    images = call(dataset, store)[0].ref
    if evidence is None:
        return FindingRefs(images=images)
    work = checking_labels(dataset, images, evidence.model, evidence.features)
    judge = cached(check_labels, work, store, "check labels", load_checked_labels, options)
    labels = judge(dataset, images, evidence, store)[0].ref
    return FindingRefs(images=images, labels=labels, judge=evidence.stage)


def check_for_report(
    dataset: Ref,
    about: Description,
    results: Mapping[str, StageResult],
    store: Store,
    *,
    refresh: bool = False,
    new: bool = False,
) -> FindingRefs | None:
    """Check a run's data set, unless it is large.

    Its labels are judged if there are features for it; `relevo check` does so by a model's answers, too, which
    means to load the model again.
    """
    size = sum(map(sum, about.counts.values())) * about.image_size**2 * 3
    if size > MOST_IN_RUN:
        line = (
            "the images are too many to check in a run; relevo check shows what stands out in them"
        )
        emit(Event("write report", line))
        return None
    evidence = evidence_in(results)
    judged = evidence if evidence and evidence.features else None
    return check_dataset(dataset, judged, store, refresh=refresh, new=new)


def evidence_in(results: Mapping[str, StageResult]) -> Evidence | None:
    """Return what the stages of a run have left to judge labels by."""
    models = {name: result.model for name, result in results.items()}
    return evidence_of(models, {name: len(each.card.labels) for name, each in results.items()})


def newest_evidence(dataset: Ref, store: Store) -> Evidence | None:
    """Return what the newest run on a data set has left to judge its labels by; None without a run."""
    runs = Runs(store)
    for name in runs.newest_first():
        with suppress(BadInput, Missing):  # a damaged run
            summary = runs.summary(name)
            if summary.dataset == f"sha256:{dataset.digest}":
                labels = {stage: len(each.metrics.recall) for stage, each in summary.stages.items()}
                return evidence_of(read_lineage(store, name).models, labels)
    return None
