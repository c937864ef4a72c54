"""What a model was trained on: its own data set, and those of the models that it started from."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from tasks.io.prepared import load_dataset
from tasks.promotion.images import TestSplit
from tasks.runs.aliases.record import AliasedModel
from tasks.runs.lookup import FoundModel, find_run
from tasks.runs.summary import read_lineage
from tasks.store.base import Damaged, Missing, Ref, Store
from tasks.vision.data.images import Images
from tasks.vision.data.prepare import all_pixel_digests
from tasks.vision.errors import BadInput
from tasks.vision.recipe.names import is_model, is_pretrained

MOST_READ = 1 << 30  # bytes of images, a few seconds of reading


@dataclass
class TrainingData:
    """Data sets by their digest; `unknown` has a line for each model whose data can't be known.

    A pretrained network, which somebody else has trained, counts as one that saw none of the images.
    """

    datasets: dict[str, Ref] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)

    def add(self, home: Store, model: AliasedModel) -> None:
        """Add what a model was trained on, back to the first one that it goes back to."""
        run, stage, seen = model.run, model.stage, set[tuple[str, str]]()
        while (run, stage) not in seen:
            seen.add((run, stage))
            try:
                summary, lineage = find_run(home.uri, run), read_lineage(home, run)
                start, ref = summary.stages[stage].start, lineage.models[stage]
            except (BadInput, KeyError):
                self.unknown.append(f"the run of {run}/{stage} is not in the store, or damaged")
                return
            if stage == model.stage and run == model.run and ref.sha256 != model.ref.sha256:
                self.unknown.append(f"the run {run} has another model {stage} now")
                return
            self.datasets[lineage.dataset.digest] = lineage.dataset
            if start is None or is_pretrained(start):
                return
            if not is_model(start):
                stage = start  # of the same run
                continue
            origin, _, stage = start.rpartition("/")
            if "/" in origin or "\\" in origin:
                self.unknown.append(f"{run} starts from {start}, whose training data is not here")
                return
            run = origin

    @classmethod
    def of(cls, home: Store, found: FoundModel) -> TrainingData:
        """What a model was trained on; unknown for one of a folder."""
        data = cls()
        run, _, stage = found.address.rpartition("/")
        if found.file is not None:
            data.unknown.append(f"the run of {found.address} is not known")
        else:
            data.add(home, AliasedModel(run=run, stage=stage, ref=found.ref))
        return data


def count_seen(home: Store, found: FoundModel, images: Images) -> int:
    """Count images with the pixels of one that a model was trained on, or chosen by, as far as is known.

    Data sets of other image sizes, or of more than `MOST_READ` bytes, are not compared.

    Args:
        images: (n, size, size, 3) uint8, prepared as the model's own.
    """
    keys = _hashes(images)
    seen: set[bytes] = set()
    for ref in TrainingData.of(home, found).datasets.values():
        with suppress(Missing, Damaged, BadInput):
            stored = load_dataset(ref, home).stored_images("train")
            if stored.shape[1:] == images.shape[1:] and stored.nbytes <= MOST_READ:
                seen.update(_hashes(stored))
    return sum(key in seen for key in keys)


def unseen(home: Store, split: TestSplit, own: Ref | None, datasets: Iterable[Ref]) -> np.ndarray:
    """Which images of a split are, pixel by pixel, none of those that were trained on: (n,) bool.

    Args:
        own: the data set that it is the test split of, if it is one. datasets: that were trained on.

    Raises:
        BadInput: a data set is gone, or its images can't be compared with these.
    """
    new = np.ones(len(split.labels), bool)
    for ref in datasets:
        try:
            data = load_dataset(ref, home)
        except (Missing, Damaged) as error:
            raise BadInput(
                f"what was trained on can't be read: {error}; run its recipe again"
            ) from None
        if own and ref.digest == own.digest and not data.description.duplicates.count:
            continue
        trained = set(_hashes(data.stored_images("train")))
        images = split.prepared_as(data.description)
        new &= [each not in trained for each in _hashes(images)]
    return new


def _hashes(images: Images) -> list[bytes]:
    return [each.tobytes() for each in all_pixel_digests(images)]
