"""Task: score a trained model on the test split."""

from __future__ import annotations

from tasks.cache.cached_task import cached_task
from tasks.io.load import Answers, load_dataset, load_evaluation, load_model, pack_evaluation
from tasks.progress import Event, emit
from tasks.store.base import Ref, Store
from tasks.vision.evaluation.score import match, score
from tasks.vision.evaluation.scores import Scores
from tasks.vision.recipe.schema import Strict


class Evaluation(Strict):
    """A model's scores, and the ref of its predictions."""

    ref: Ref
    scores: Scores


@cached_task
def evaluate(name: str, model: Ref, dataset: Ref, store: Store) -> Evaluation:
    """Predict the test images, with and without test-time augmentation, and publish the predictions."""
    card, tensors = load_model(model, store)
    data = load_dataset(dataset, store)
    part = data.part("test")
    positions, truth = match(card, data.classes, part.labels)
    scores, probabilities = score(card, tensors, part.images[positions], truth)
    emit(Event(name, f"accuracy {scores.metrics.accuracy:.4f} on {len(truth)} images"))
    content = pack_evaluation(scores, Answers(positions, truth, probabilities))
    ref = store.put("evaluation", content, ".safetensors", made_from=(model, dataset))
    return Evaluation(ref=ref, scores=scores)


def load_scores(ref: Ref, store: Store) -> Evaluation:
    """Load the scores of an evaluation."""
    return Evaluation(ref=ref, scores=load_evaluation(ref, store)[0])
