"""Task: score a finished model on the test split, once."""

from __future__ import annotations

from typing import Any

import numpy as np

from tasks.caching import step
from tasks.kept import load_dataset, load_model
from tasks.keys import Done
from tasks.places import local_data
from tasks.progress import Event, tell
from tasks.store import Ref, open_store
from tasks.vision.errors import BadInput
from tasks.vision.hardware import find_device, loading_tensorflow
from tasks.vision.model import Card, Tensors
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


def match(
    card: Card, classes: list[str], labels: np.ndarray, *, foreign: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Positions and target indices of the images whose class the model knows.

    A class is known by its own name or by the label it counts as: both `automobile` and `car` are car.
    In the data that the model comes from, its label scheme may leave classes out on purpose.

    Raises:
        BadInput: the data are `foreign`, and the model does not know one of their classes.
    """
    index = {name: i for i, group in enumerate(card.classes) for name in group}
    index |= {label: i for i, label in enumerate(card.labels) if label not in index}
    strange = [name for name in classes if name not in index]
    if strange and foreign:
        raise BadInput(
            f"class {strange[0]!r} is unknown to the model; it knows {', '.join(index)}: rename the folder"
        )
    targets = np.array([index.get(name, -1) for name in classes], np.int32)[labels]
    return np.flatnonzero(targets >= 0), targets[targets >= 0]


def score(
    card: Card, tensors: Tensors, images: np.ndarray, truth: np.ndarray
) -> tuple[dict[str, Any], np.ndarray]:
    """Labels, confusion matrix, metrics and calibration as JSON, and the probabilities (n, labels)."""
    from tasks.vision.metrics import confused_pairs, confusion, reliability, scores

    with loading_tensorflow():
        from tasks.vision.inference import Predictor

    predictor = Predictor(card, tensors, find_device())
    probabilities = predictor(images)
    averaged = predictor(images, average=True)
    matrix = confusion(truth, probabilities, card.labels)
    metrics = scores(truth, probabilities, card.labels)
    metrics["accuracy_tta"] = float((averaged.argmax(1) == truth).mean())
    summary = {
        "labels": card.labels,
        "confusion": matrix,
        "confused": confused_pairs(matrix, card.labels),
        "reliability": reliability(truth, probabilities),
        "metrics": metrics,
    }
    return summary, probabilities


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
