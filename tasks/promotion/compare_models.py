"""Compare the model in use with another one on the same images, of which neither was trained on any."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.io.load import load_evaluation, load_model
from tasks.io.prepared import load_dataset
from tasks.promotion.gate import Gate
from tasks.promotion.images import SourceTestSplit, StoredTestSplit, TestSplit
from tasks.promotion.training_data import TrainingData, unseen
from tasks.runs.aliases.record import AliasedModel
from tasks.runs.summary import Lineage, read_lineage
from tasks.store.addresses import without_secrets
from tasks.store.base import Damaged, Missing, Ref, Store
from tasks.vision.device import find_device, loading_tensorflow
from tasks.vision.errors import BadInput
from tasks.vision.evaluation.paired import PairedScores, paired_scores
from tasks.vision.evaluation.score import match
from tasks.vision.text import first_of
from tasks.vision.trained_model import Card, Tensors


@dataclass(frozen=True)
class Loaded:
    """A model that is compared, in memory; `lineage` of its run, if that is still there."""

    model: AliasedModel
    card: Card
    tensors: Tensors
    lineage: Lineage | None

    @classmethod
    def of(cls, home: Store, model: AliasedModel) -> Loaded:
        """Load it. Raises BadInput if it is gone."""
        try:
            card, tensors = load_model(model.ref, home)
        except (Missing, Damaged) as error:
            raise BadInput(f"model {model}: {error}; promote without --if-better") from None
        try:
            return cls(model, card, tensors, read_lineage(home, model.run))
        except BadInput:
            return cls(model, card, tensors, None)


@dataclass(frozen=True)
class Answers:
    """Rows of a split that a model has answers for, and the indices of their true and predicted labels."""

    rows: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray


def compare_models(
    home: Store, before: AliasedModel, now: AliasedModel, gate: Gate
) -> PairedScores:
    """Score both on the test split of `gate.data`, or of the data that `now` was trained on.

    Images with the pixels of one that either was trained on are left out; near duplicates are not found.

    Raises:
        BadInput: they have other labels, there are no such images, or whether they are new to both models
            can't be established.
    """
    models = Loaded.of(home, before), Loaded.of(home, now)
    labels = models[1].card.labels
    if sorted(models[0].card.labels) != sorted(labels):
        raise BadInput(
            f"{before} answers {first_of(models[0].card.labels)}, and {now} {first_of(labels)}: models with "
            "other labels can't be compared; promote without --if-better"
        )
    split, own = _split(home, models[1], gate)
    trained = TrainingData()
    for each in models:
        trained.add(home, each.model)
    if own and trained.unknown:
        raise BadInput(
            f"whether {split.name} is new to both models can't be established: {trained.unknown[0]}; give "
            "images that neither was trained on by --data SOURCE"
        )
    new = unseen(home, split, own, trained.datasets.values())
    answers = [_answers(home, each, split, own) for each in models]
    places = [np.array([labels.index(label) for label in each.card.labels]) for each in models]
    truths = [place[each.truth] for place, each in zip(places, answers, strict=True)]
    rows = answers[1].rows
    if not (np.array_equal(answers[0].rows, rows) and np.array_equal(*truths)):
        raise BadInput(
            f"{before} and {now} have the same labels for other classes of {split.name}, so they can't be "
            "compared; promote without --if-better"
        )
    not_trained_on = new[rows]
    if not not_trained_on.any():
        raise BadInput(
            f"{split.name}: the models were trained on all of these images; give others by --data SOURCE"
        )
    first, second = (
        place[each.predicted][not_trained_on] for place, each in zip(places, answers, strict=True)
    )
    scores = paired_scores(truths[1][not_trained_on], first, second, labels, gate.metric)
    return scores.model_copy(
        update={
            "data": without_secrets(split.name),
            "left_out": int((~not_trained_on).sum()),
            "unknown": first_of(trained.unknown, 1),
        }
    )


def _split(home: Store, now: Loaded, gate: Gate) -> tuple[TestSplit, Ref | None]:
    """Return the images to answer, and the data set that they are the test split of, if it is one."""
    if gate.data is not None:
        return SourceTestSplit.of(gate.data, now.card), None
    if now.lineage is None:
        raise BadInput(
            f"the run {now.model.run} is not in the store, or damaged, so its test images are not known; "
            "give images by --data SOURCE"
        )
    try:
        data = load_dataset(now.lineage.dataset, home)
    except (Missing, Damaged) as error:
        raise BadInput(f"the data of {now.model.run}: {error}; run its recipe again") from None
    return StoredTestSplit(f"the test split of {now.model.run}", data), now.lineage.dataset


def _answers(home: Store, model: Loaded, split: TestSplit, own: Ref | None) -> Answers:
    """Read a model's answers to the test images of its run; or have it answer."""
    lineage = model.lineage
    if own and lineage and lineage.dataset.digest == own.digest:
        try:
            _, known = load_evaluation(lineage.evaluations[model.model.stage], home)
            return Answers(known.positions, known.truth, known.probabilities.argmax(1))
        except (Missing, Damaged, KeyError, ValueError):
            pass  # then it answers again
    card = model.card
    rows, truth = match(card, split.classes, split.labels, foreign=own is None)
    images = split.for_model(card, rows)
    with loading_tensorflow():
        from tasks.vision.network.predictor import Predictor

    answer = Predictor(card, model.tensors, find_device().in_float32)
    return Answers(rows, truth, answer(images).argmax(1))
