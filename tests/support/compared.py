"""Runs whose models are compared: made by hand, with data sets of noise and answers as a test wants them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from support.cards import small_model
from support.results import bare_stage
from support.stores import finish_run
from tasks.cache.pieces import StoredPieces
from tasks.io.load import Answers, pack_evaluation
from tasks.runs.aliases.record import AliasedModel
from tasks.store.base import Ref, Store
from tasks.vision.data.labelled import ImageSet, Split
from tasks.vision.data.prepare import prepare
from tasks.vision.evaluation.score import scores_of
from tasks.vision.recipe.data import Data
from tasks.vision.trained_model import digest, pack

CLASSES = ["a", "b", "c"]  # those of `small_model`
PICTURES = np.random.default_rng(0).integers(0, 256, (200, 16, 16, 3), np.uint8)


def split(rows: Sequence[int], size: int = 16) -> Split:
    """Pictures by their number, which says their class, `size` pixels per side."""
    chosen, larger = np.array(rows), np.ones((1, size // 16, size // 16, 1), np.uint8)
    labels = (chosen % 3).astype(np.int32)
    return Split(np.kron(PICTURES[chosen], larger), labels, [f"{row}.png" for row in rows])


def data_set(home: Store, train: Sequence[int], test: Sequence[int], size: int = 16) -> Ref:
    """A prepared data set of pictures by their number."""
    found = ImageSet(CLASSES, {"train": split(train, size), "test": split(test, size)}, [])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        data = Data(source="", image_size=size, validation=0.2)
        pieces = StoredPieces(home, {})
        prepared = prepare(found, data, path, pieces)
        pieces.finish()
        return home.put("dataset", path, ".safetensors", digest=prepared.digest)


def model_of_run(
    home: Store,
    run: str,
    dataset: Ref,
    start: str | None = None,
    test: Sequence[int] = (),
    right: int = 0,
) -> AliasedModel:
    """The model `baseline` of a run on a data set in a local store; other weights for another length of name.

    Args:
        test: pictures that its run has answered, the first `right` of them correctly.
    """
    card, tensors = small_model()
    other = {key: value * len(run) for key, value in tensors.items()}
    ref = home.put("model", pack(card, other), ".safetensors", digest=digest(other))
    evaluations = {}
    if test:
        truth, rows = np.array(test) % 3, np.arange(len(test))
        answers = Answers(rows, truth, np.eye(3)[np.where(rows < right, truth, (truth + 1) % 3)])
        content = pack_evaluation(scores_of(card, truth, answers.probabilities), answers)
        evaluations["baseline"] = home.put("evaluation", content, ".safetensors")
    finish_run(
        Path(home.uri),
        run,
        models={"baseline": ref},
        dataset=dataset,
        stages={"baseline": bare_stage(start=start)},
        evaluations=evaluations,
    )
    return AliasedModel(run=run, stage="baseline", ref=ref)
