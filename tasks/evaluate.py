"""Task: score a finished model on the test split, once."""

from __future__ import annotations

from typing import Any

from tasks.cache.cached_task import step
from tasks.cache.records import Done
from tasks.io.load import load_dataset, load_model
from tasks.progress import Event, emit
from tasks.store.base import Ref
from tasks.store.opening import open_store
from tasks.vision.evaluation.score import match, score
from tasks.vision.trained_model import pack_arrays


@step
def evaluate(
    name: str, model: dict[str, Any], dataset: dict[str, Any], work: dict[str, Any], store: str
) -> Any:
    """Predict the test images, with and without test-time augmentation; returns the scores' ref."""
    model_ref, data_ref = Ref.model_validate(model), Ref.model_validate(dataset)
    card, tensors = load_model(model_ref, store)
    data = load_dataset(data_ref, store)
    part = data.part("test")
    positions, truth = match(card, data.classes, part.labels)
    summary, probabilities = score(card, tensors, part.images[positions], truth)
    emit(Event(name, f"accuracy {summary['metrics']['accuracy']:.4f} on {len(truth)} images"))
    arrays = {"positions": positions, "truth": truth, "probabilities": probabilities}
    ref = open_store(store).put(
        "evaluation",
        pack_arrays(arrays, summary),
        ".safetensors",
        made_from=(model_ref, data_ref),
    )
    return Done(ref=ref, ingredients=work).model_dump(mode="json")
