"""What a trained model says of pictures: one row for each, with the probability of every label."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.places import local_data
from tasks.runs import find_model
from tasks.vision.errors import BadInput
from tasks.vision.files import shown
from tasks.vision.hardware import find_device, loading_tensorflow
from tasks.vision.pictures import read_pictures


@dataclass(frozen=True)
class Prediction:
    """One picture: its name, and a probability for each label; or why it could not be read."""

    name: str
    probabilities: dict[str, float]
    fault: str = ""

    @property
    def label(self) -> str:
        """The likeliest label."""
        return max(self.probabilities, key=lambda label: self.probabilities[label])

    def row(self) -> dict[str, Any]:
        """As JSON."""
        chances = {label: round(value, 6) for label, value in self.probabilities.items()}
        return {"file": self.name, "label": self.label, "probabilities": chances}


def predict_pictures(store: str, model: str, given: Sequence[str]) -> Iterator[Prediction]:
    """Every picture in the files, folders and archives `given`, those that can't be read included.

    Raises:
        BadInput: there is no such model, or nothing under one of the addresses.
    """
    if not given:
        raise BadInput("no picture is given; name files, folders or archives of them")
    card, tensors = find_model(store, model)
    places = [local_data(each) for each in given]
    batches = read_pictures(places, card.architecture.image_size)
    first = next(batches)  # what can be refused is refused before TensorFlow is imported
    with loading_tensorflow():
        from tasks.vision.inference import Predictor

    predictor = Predictor(card, tensors, find_device())
    for batch in (first, *batches):
        for name, row in zip(batch.names, predictor(batch.images), strict=True):
            yield Prediction(name, dict(zip(card.labels, map(float, row), strict=True)))
        for name, reason in batch.unreadable.items():
            yield Prediction(name, {}, f"{shown(name)}: {reason}")


def as_csv(predictions: Iterable[Prediction]) -> str:
    """A table with the columns file, label, and one for each label's probability."""
    text = io.StringIO()
    writer: Any = None
    for each in predictions:
        if writer is None:
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(["file", "label", *each.probabilities])
        writer.writerow(
            [each.name, each.label, *(f"{value:.6f}" for value in each.probabilities.values())]
        )
    return text.getvalue()


def summary_of(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """The one JSON object of `relevo predict --json`."""
    read = [each for each in predictions if not each.fault]
    return {
        "labels": list(read[0].probabilities) if read else [],
        "predictions": [each.row() for each in read],
        "unreadable": [each.fault for each in predictions if each.fault],
    }
