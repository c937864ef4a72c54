"""Task: score a trained model on the test split."""

from __future__ import annotations

import numpy as np

from tasks.cache.cached_task import cached_task
from tasks.io.load import Answers, load_evaluation, load_features, load_model, pack_evaluation
from tasks.io.prepared import load_dataset
from tasks.progress import Event, emit
from tasks.store.base import Ref, Store
from tasks.vision.data.sample import sample_of
from tasks.vision.data.targets import images_of
from tasks.vision.evaluation.attention import maps_of
from tasks.vision.evaluation.score import match, score, score_features
from tasks.vision.evaluation.scores import Scores
from tasks.vision.recipe.schema import Strict


class Evaluation(Strict):
    """A model's scores, and the ref of its predictions."""

    ref: Ref
    scores: Scores


@cached_task
def evaluate(
    name: str, model: Ref, dataset: Ref, store: Store, features: Ref | None = None
) -> Evaluation:
    """Predict the test images, with and without test-time augmentation, and publish the predictions.

    For a stage on a pretrained network, also class maps of some images.

    Args:
        features: of the data set, for a head on a pretrained network, which then sees no image again.
    """
    card, tensors = load_model(model, store)
    data = load_dataset(dataset, store)
    positions, truth = match(card, data.classes, data.labels("test"))
    sample = sample_of(data, card.classes) if card.sample else None
    if sample:
        positions, truth = sample.test, truth[np.isin(positions, sample.test)]
    if features:
        inputs = load_features(features, store)
        rows = inputs["test"][positions] if sample is None else sample.taken_from(inputs)["test"]
        scores, probabilities = score_features(card, tensors, rows, truth)
    else:
        images = images_of(data, "test", positions, card.architecture.image_size)
        scores, probabilities = score(card, tensors, images, truth)
    emit(Event(name, f"accuracy {scores.metrics.accuracy:.4f} on {len(truth)} images"))
    maps = None
    if card.pretrained and not sample:
        stored = data.stored_images("test")
        maps = maps_of(card, tensors, truth, probabilities, stored, positions)
    content = pack_evaluation(scores, Answers(positions, truth, probabilities, maps))
    ref = store.put("evaluation", content, ".safetensors", made_from=(model, dataset))
    return Evaluation(ref=ref, scores=scores)


def load_scores(ref: Ref, store: Store) -> Evaluation:
    """Load the scores of an evaluation."""
    return Evaluation(ref=ref, scores=load_evaluation(ref, store)[0])
