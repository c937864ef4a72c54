"""Task: look for blank, dark and blurred pictures of a data set, and for duplicates."""

from __future__ import annotations

import numpy as np

from tasks.cache.cached_task import Published, cached_task
from tasks.io.findings import load_findings, publish_findings
from tasks.io.prepared import load_dataset
from tasks.progress import Event, emit
from tasks.store.base import Ref, Store
from tasks.vision.check.duplicates import duplicate_groups
from tasks.vision.check.findings import Flawed, ImageFindings
from tasks.vision.check.flaws import flaws, measure
from tasks.vision.check.whole import Whole
from tasks.vision.device import cores


@cached_task
def check_images(dataset: Ref, store: Store) -> Published:
    """Look at all prepared images, train, validation and test."""
    images = Whole.of(load_dataset(dataset, store)).images
    emit(Event("check images", f"looking at {len(images):,} images"))
    flawed = tuple(
        Flawed(kind=kind, rows=tuple(rows.tolist()), values=tuple(values.tolist()))
        for kind, rows, values in flaws(measure(images, cores()))
    )
    blank = np.array(next(each.rows for each in flawed if each.kind == "blank"), np.int64)
    found = ImageFindings(flawed=flawed, duplicates=tuple(duplicate_groups(images, blank)))
    return Published(ref=publish_findings(found, store, (dataset,)))


def load_checked_images(ref: Ref, store: Store) -> Published:
    """Return the findings at `ref`. Raises ValueError if there is something else."""
    load_findings(ImageFindings, ref, store)
    return Published.of(ref)
