"""Task: score a trained model on the test split, or on validation where settings are chosen."""

from __future__ import annotations

from typing import Literal

import numpy as np

from tasks.cache.cached_task import cached_task
from tasks.io.load import Answers, load_evaluation, load_features, load_model, pack_evaluation
from tasks.io.prepared import load_dataset
from tasks.progress import Event, emit
from tasks.store.base import Ref, Store
from tasks.vision.data.batches.sample import sample_of
from tasks.vision.data.batches.targets import images_of
from tasks.vision.evaluation.attention import maps_of
from tasks.vision.evaluation.score import match, score, score_features
from tasks.vision.evaluation.scores import Scores
from tasks.vision.recipe.schema import Strict

Scored = Literal["test", "validation"]


class Evaluation(Strict):
    """A model's scores, and the ref of its predictions."""

    ref: Ref
    scores: Scores


@cached_task
def evaluate(
    name: str,
    model: Ref,
    dataset: Ref,
    store: Store,
    features: Ref | None = None,
    split: Scored = "test",
) -> Evaluation:
    """Predict a split's images, with and without test-time augmentation, and publish the predictions.

    For a stage on a pretrained network, also class maps of some test images.

    Args:
        features: of the data set, for a head on a pretrained network, which then sees no image again.
    """
    card, tensors = load_model(model, store)
    data = load_dataset(dataset, store)
    positions, truth = match(card, data.classes, data.labels(split))
    sample = sample_of(data, card.classes) if card.sample else None
    if sample:
        positions, truth = sample.test, truth[np.isin(positions, sample.test)]
    where, rows = "train" if split == "validation" else "test", data.rows(split)[positions]
    if features:
        inputs = load_features(features, store)
        seen = inputs[where][rows] if sample is None else sample.taken_from(inputs)["test"]
        scores, probabilities = score_features(card, tensors, seen, truth)
    else:
        images = images_of(data, where, rows, card.architecture.image_size)
        scores, probabilities = score(card, tensors, images, truth)
    which = f"{split} images" if split == "validation" else "images"
    emit(Event(name, f"accuracy {scores.metrics.accuracy:.4f} on {len(truth)} {which}"))
    maps = None
    if card.pretrained and not sample and split == "test":
        stored = data.stored_images("test")
        maps = maps_of(card, tensors, truth, probabilities, stored, positions)
    content = pack_evaluation(scores, Answers(positions, truth, probabilities, maps))
    ref = store.put("evaluation", content, ".safetensors", made_from=(model, dataset))
    return Evaluation(ref=ref, scores=scores)


def load_scores(ref: Ref, store: Store) -> Evaluation:
    """Load the scores of an evaluation."""
    return Evaluation(ref=ref, scores=load_evaluation(ref, store)[0])
