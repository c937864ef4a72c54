"""Task: score a finished model on the test split, once."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from tasks.caching import NUMERIC, Done, Work, code_digest, step, versions
from tasks.prepare import load_dataset
from tasks.progress import Event, tell
from tasks.store import Ref, open_store
from tasks.train import load_model
from tasks.vision.errors import BadInput
from tasks.vision.hardware import find_device
from tasks.vision.metrics import confused_pairs, confusion, reliability, scores
from tasks.vision.model import Card, Tensors
from tasks.vision.quiet import quiet_output
from tasks.vision.sources import find_source, read_source


def evaluation(model: Ref, dataset: Ref) -> Work:
    """What decides a model's scores."""
    device = find_device()
    return Work(
        "evaluate",
        {
            "model": model.sha256,
            "dataset": dataset.digest,
            "device": device.kind,
            "policy": device.policy,
            "versions": versions(*NUMERIC, "scikit-learn"),
            "code": code_digest("tasks.vision.learning", "tasks.vision.metrics"),
        },
    )


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
        save(arrays, {"relevo": json.dumps(summary, sort_keys=True)}),
        ".safetensors",
        made_from=(model_ref, data_ref),
    )
    return Done(ref=ref, ingredients=work).model_dump(mode="json")


def match(card: Card, classes: list[str], labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions and target indices of the images whose class the model knows.

    A class is known by its own name or by the label it counts as: both `automobile` and `car` are car.

    Raises:
        BadInput: no class, or not every class, has a label of the model.
    """
    index = {name: i for i, group in enumerate(card.classes) for name in group}
    index |= {label: i for i, label in enumerate(card.labels) if label not in index}
    strange = [name for name in classes if name not in index]
    if strange:
        raise BadInput(
            f"class {strange[0]!r} is unknown to the model; it knows {', '.join(index)}: rename the folder"
        )
    lookup = np.array([index[name] for name in classes], np.int32)
    return np.arange(len(labels)), lookup[labels]


def score(
    card: Card, tensors: Tensors, images: np.ndarray, truth: np.ndarray
) -> tuple[dict[str, Any], np.ndarray]:
    """Labels, confusion matrix, metrics and calibration as JSON, and the probabilities (n, labels)."""
    with quiet_output():
        from tasks.vision.learning import predict

    probabilities = predict(card, tensors, images, find_device())
    averaged = predict(card, tensors, images, find_device(), average=True)
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
    source = find_source(given)
    found = read_source(source, card.architecture.image_size, splits=(split,))
    part = found.splits[split]
    positions, truth = match(card, found.classes, part.labels)
    summary, _ = score(card, tensors, part.images[positions], truth)
    return {**summary, "unreadable": found.unreadable}


def load_evaluation(ref: Ref, store: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The scores as JSON, and the arrays `positions`, `truth` and `probabilities`."""
    content = open_store(store).fetch(ref).read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return json.loads(header["__metadata__"]["relevo"]), load(content)
