"""Task: score a finished model on the test split, once."""

from __future__ import annotations

from typing import Any

from tasks.caching import step
from tasks.kept import load_dataset, load_model
from tasks.keys import Done
from tasks.places import local_data
from tasks.progress import Event, tell
from tasks.store import Ref, open_store
from tasks.vision.model import Card, Tensors
from tasks.vision.scoring import match, score
from tasks.vision.sources import find_source, read_source
from tasks.vision.tensors import pack_arrays


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
    tell(Event(name, f"accuracy {summary['metrics']['accuracy']:.4f} on {len(truth)} images"))
    arrays = {"positions": positions, "truth": truth, "probabilities": probabilities}
    ref = open_store(store).put(
        "evaluation",
        pack_arrays(arrays, summary),
        ".safetensors",
        made_from=(model_ref, data_ref),
    )
    return Done(ref=ref, ingredients=work).model_dump(mode="json")


def score_images(card: Card, tensors: Tensors, given: str, split: str) -> dict[str, Any]:
    """Score a model on the images of a source, decoded to the size that it was built for.

    Raises:
        BadInput: the source can't be read, lacks the split, or has classes that the model doesn't know.
    """
    source = find_source(local_data(given))
    found = read_source(source, card.architecture.image_size, splits=(split,))
    part = found.splits[split]
    positions, truth = match(card, found.classes, part.labels, foreign=True)
    summary, _ = score(card, tensors, part.images[positions], truth)
    return {**summary, "unreadable": found.unreadable}
