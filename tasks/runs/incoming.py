"""What came in since the run before of the same recipe, for a run's report."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import numpy as np

from tasks.io.findings import FindingRefs, load_findings
from tasks.io.load import load_features, load_model
from tasks.io.prepared import load_dataset, piece_ref, pieces_of
from tasks.runs.listing import Runs
from tasks.runs.summary import Lineage, read_lineage
from tasks.store.base import Damaged, Missing, Ref, Store
from tasks.vision.check.findings import ImageFindings
from tasks.vision.check.incoming import (
    Incoming,
    Pictures,
    class_changes,
    difference,
    drift_of,
    near_test,
    shown_of,
)
from tasks.vision.check.whole import Whole
from tasks.vision.data.dataset import Dataset
from tasks.vision.data.pieces.pieces import PieceImages, read_piece
from tasks.vision.data.shards.arrays import map_arrays
from tasks.vision.errors import BadInput
from tasks.vision.ood_score import ood_score_of


def what_came_in(
    recipe: str,
    dataset: Ref,
    models: Mapping[str, Ref],
    findings: FindingRefs | None,
    store: Store,
) -> Incoming | None:
    """Compare a run's data set with that of the last complete run of the same recipe.

    Args:
        recipe: its name. models: of the run's stages. findings: of a look at the data set.

    Returns:
        None if nothing has changed, there is no such run, or its data is another or gone.
    """
    # What another version has stored, or somebody has removed, is not worth a run.
    with suppress(Missing, Damaged, BadInput, ValueError):
        if (before := _run_before(recipe, store)) is None:
            return None
        run, lineage = before
        if lineage.dataset.digest == dataset.digest:
            return None
        old, now = (load_pictures(ref, store) for ref in (lineage.dataset, dataset))
        changed = difference(old, now) if old and now else None
        if not (old and now and changed):
            return None
        drift = shares = None
        if len(changed.added) and (found := _shares(lineage, models, changed.added, store)):
            stage, shares = found
            drift = drift_of(stage, shares)
        groups = load_findings(ImageFindings, findings.images, store) if findings else None
        return Incoming(
            run=run,
            added=len(changed.added),
            removed=len(changed.removed),
            relabelled=len(changed.relabelled),
            classes=class_changes(old, now, changed),
            near_test=near_test(now, changed.added, groups.duplicates) if groups else None,
            drift=drift,
            shown=shown_of(now, changed.added, shares),
        )
    return None


def load_pictures(ref: Ref, store: Store) -> Pictures | None:
    """Load what identifies the pictures of a data set; None for one that was not made of picture files.

    Raises:
        Missing, Damaged: a file is not there, or has other bytes. ValueError: it is something else.
    """
    data = load_dataset(ref, store)
    if not pieces_of(data):
        return None
    whole = Whole.of(data)
    labels = np.array(whole.classes)[whole.labels]
    return Pictures(_pixels(ref, data, store), labels, whole.names, whole.splits)


def _pixels(ref: Ref, data: Dataset, store: Store) -> np.ndarray:
    """The first half of the hash of each picture's pixels, (n,) uint64."""
    size = data.description.image_size
    pieces = [read_piece(store.open_blob(piece_ref(each)), each, size) for each in pieces_of(data)]
    _, arrays = map_arrays(store.open_blob(ref))
    rows = np.concatenate([arrays["train_rows"], arrays["test_rows"]])
    pixels = np.ascontiguousarray(PieceImages(pieces, rows).pixels)
    halves: np.ndarray = pixels.view("<u8")[:, 0].astype(np.uint64)
    return halves


def _run_before(recipe: str, store: Store) -> tuple[str, Lineage] | None:
    runs = Runs(store)
    for name in runs.newest_first():
        with suppress(BadInput, Missing):  # a damaged run
            if runs.summary(name).recipe == recipe:
                return name, read_lineage(store, name)
    return None


def _shares(
    before: Lineage, models: Mapping[str, Ref], added: np.ndarray, store: Store
) -> tuple[str, np.ndarray] | None:
    """How unlike the last training set new pictures are, by a stage of the run before; None if none can tell.

    It can if it is a head on a frozen network whose features this run has, too.
    """
    known = {
        network.digest: ref
        for ref in map(_features_of, models.values())
        if ref
        for network in _networks_of(ref)
    }
    for stage, model in before.models.items():
        features = _features_of(model)
        same = [known[each.digest] for each in _networks_of(features) if each.digest in known]
        if not same:
            continue
        card, tensors = load_model(model, store)
        score = ood_score_of(tensors)
        if score is None or not card.on_features:
            continue
        stored = load_features(same[0], store)
        rows = np.concatenate([stored["train"], stored["test"]])
        if rows.shape[1] >= len(score.centre):
            return stage, score.shares(rows[added])
    return None


def _features_of(model: Ref) -> Ref | None:
    return next((ref for ref in model.made_from if ref.kind == "feature"), None)


def _networks_of(features: Ref | None) -> list[Ref]:
    return [ref for ref in features.made_from if ref.kind == "network"] if features else []
