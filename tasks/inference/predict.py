"""Predictions for images: one row each, with the probability of every label."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.inference.maps import MapFolder, evidence_function
from tasks.inference.scored_table import ScoredPicture
from tasks.inference.unscored import Unscored
from tasks.io.locations import local_data
from tasks.progress import counted
from tasks.runs.lookup import FoundModel, look_up
from tasks.vision.data.batches.augment import evenly_spaced
from tasks.vision.data.batches.prefetch import prefetch
from tasks.vision.data.unlabelled import UnlabelledImages, batch_size
from tasks.vision.device import find_device, loading_tensorflow
from tasks.vision.errors import BadInput
from tasks.vision.figures.defaults import matplotlib_defaults
from tasks.vision.files.left_out import LeftOut
from tasks.vision.ood_score import OOD_THRESHOLD
from tasks.vision.text import printable

AHEAD_BYTES = 256 * 2**20  # of decoded images that wait for the network
UNSURE = "unsure"  # the answer for an image whose most probable label is not probable enough
UNLIKE_COLUMN = "share_more_like_training"  # of the validation images


@dataclass(frozen=True)
class Prediction:
    """An image's name and the probability of each label, or the reason why it could not be read.

    Attributes:
        unless: least probability of an answer; 0 gives an answer for every image.
        unlike: share of the validation images that are more like training, if the model can tell.
    """

    name: str
    probabilities: dict[str, float]
    fault: str = ""
    unless: float = 0.0
    unlike: float | None = None

    @property
    def label(self) -> str:
        """The most probable label."""
        return max(self.probabilities, key=lambda label: self.probabilities[label])

    @property
    def answer(self) -> str:
        """The most probable label; with `unless`, `UNSURE` for a less probable one or an unlike image."""
        return UNSURE if self.unsure else self.label

    @property
    def unsure(self) -> bool:
        """True without an answer."""
        unsure = self.unlike_training or self.probabilities[self.label] < self.unless
        return bool(self.unless and unsure)

    @property
    def unlike_training(self) -> bool:
        """True for an image that is unlike anything in training."""
        return self.unlike is not None and self.unlike >= OOD_THRESHOLD

    def scored(self, unscored: Unscored) -> ScoredPicture:
        """Return the prediction as a row of a growing table."""
        key, file = unscored.key_of(self.name), unscored.address_of(self.name)
        if self.fault:
            return ScoredPicture(key, file, fault=self.fault)
        return ScoredPicture(
            key,
            file,
            label=self.label,
            probability=self.probabilities[self.label],
            probabilities=self.probabilities,
            unless=self.unless,
            unsure=self.unsure,
            share_more_like_training=self.unlike,
        )

    def row(self) -> dict[str, Any]:
        """Return the prediction as a JSON object."""
        chances = {label: round(value, 6) for label, value in self.probabilities.items()}
        row = {"file": self.name, "label": self.answer, "probabilities": chances}
        if self.unlike is None:
            return row
        return {
            **row,
            UNLIKE_COLUMN: round(self.unlike, 4),
            "unlike_training": self.unlike_training,
        }


def predict_images(
    store: str,
    model: str | FoundModel,
    given: Sequence[str],
    sample: ImageSample | None = None,
    leave_out: Callable[[list[LeftOut]], None] = lambda left_out: None,
    unless: float = 0.0,
    maps: MapFolder | None = None,
    unscored: Unscored | None = None,
) -> Iterator[Prediction]:
    """Predict all images in the files, folders and archives `given`; yield unreadable ones too.

    Images are decoded while TensorFlow is imported and while the network runs. All readable images are
    offered to `sample`.

    Args:
        leave_out: called with the kinds of files that are not looked at.
        unless: least probability of an answer.
        maps: gets a picture of each image and of where the model looked.
        unscored: leaves out what the model has scored before.

    Raises:
        BadInput: there is no such model, or nothing under one of the addresses.
    """
    if not given:
        raise BadInput("no images given; name files, folders or archives")
    found_model = look_up(store, model) if isinstance(model, str) else model
    card, tensors = found_model.card, found_model.tensors
    if unless and UNSURE in card.labels:
        raise BadInput(f"the model has a label {UNSURE!r} of its own; predict without --unless")
    size = card.architecture.image_size
    depth = max(1, AHEAD_BYTES // (3 * size**2 * batch_size(size)))
    # `UnlabelledImages` refuses bad input before TensorFlow is imported.
    local = [] if unscored else [local_data(each) for each in given]
    opened = unscored.open(given) if unscored else UnlabelledImages(local)
    if not len(opened):
        opened.close()
        return
    with (
        opened as images,
        prefetch(images.batches(size, card.bits, card.fit), depth) as batches,
    ):
        leave_out(images.left_out)
        with loading_tensorflow():
            from tasks.vision.network.predictor import Predictor

        # In float32, so that predictions don't depend on the machine's numeric policy.
        predictor = Predictor(card, tensors, find_device().in_float32)
        evidence = evidence_function(card, tensors, predictor) if maps else None
        for batch in batches:
            found = predictor.predict(batch.images)
            probabilities = found.probabilities
            n = len(batch.images)
            unlike = [None] * n if found.unlike is None else found.unlike.tolist()
            predictions = [
                Prediction(
                    name, dict(zip(card.labels, row, strict=True)), unless=unless, unlike=share
                )
                for name, row, share in zip(
                    batch.names, probabilities.tolist(), unlike, strict=True
                )
            ]
            answers = [each.answer for each in predictions]
            if sample:
                sample.offer(batch.images, probabilities, answers)
            if maps and evidence and len(batch.images):
                looked = evidence(batch.images, probabilities.argmax(1))
                maps.write(batch.names, answers, batch.images, looked)
            yield from predictions
            for name, reason in batch.unreadable.items():
                yield Prediction(name, {}, f"{printable(name)}: {reason}")


class ImageSample:
    """A sample of at most `most` images, evenly spaced over a stream of unknown length."""

    def __init__(self, most: int = 40) -> None:
        self.most = most
        self._every = 1  # keep every n-th image
        self._seen = 0
        self._images: list[np.ndarray] = []
        self._probabilities: list[np.ndarray] = []
        self._answers: list[str] = []

    def offer(self, images: np.ndarray, probabilities: np.ndarray, answers: Sequence[str]) -> None:
        """Offer the next images (n, size, size, 3) uint8 with probabilities (n, labels) and n answers."""
        for row in range(-self._seen % self._every, len(images), self._every):
            self._images.append(images[row].copy())
            self._probabilities.append(probabilities[row])
            self._answers.append(answers[row])
        self._seen += len(images)
        while len(self._images) > 4 * self.most:
            self._every *= 2
            self._images, self._probabilities = self._images[::2], self._probabilities[::2]
            self._answers = self._answers[::2]

    def grid(self, labels: Sequence[str], title: str) -> bytes:
        """Return a PNG of the images, each with its answer and the probability of the likeliest label."""
        chosen = evenly_spaced(len(self._images), self.most)
        images, rows = self._images, self._probabilities
        with matplotlib_defaults():
            from tasks.vision.figures.predictions import prediction_grid
            from tasks.vision.figures.style import png

            figure = prediction_grid(
                np.array([images[i] for i in chosen], np.uint8),
                np.array([rows[i] for i in chosen]),
                labels,
                f"{title}: {len(chosen):,} of {counted(self._seen, 'image')}",
                answers=[self._answers[i] for i in chosen],
            )
            return png(figure)


def as_csv(predictions: Sequence[Prediction]) -> str:
    """Return CSV with the columns file, label, one probability per label, and how unlike training it is.

    The last column is there if the model can tell: the share of validation images that are more like training.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for each in predictions[:1]:
        more = [] if each.unlike is None else [UNLIKE_COLUMN]
        writer.writerow(["file", "label", *each.probabilities, *more])
    for each in predictions:
        chances = [f"{value:.6f}" for value in each.probabilities.values()]
        more = [] if each.unlike is None else [f"{each.unlike:.4f}"]
        writer.writerow([each.name, each.answer, *chances, *more])
    return text.getvalue()


def predictions_json(
    predictions: Sequence[Prediction], left_out: Sequence[LeftOut]
) -> dict[str, Any]:
    """Return the JSON object of `relevo predict --json`."""
    read = [each for each in predictions if not each.fault]
    return {
        "labels": list(read[0].probabilities) if read else [],
        "predictions": [each.row() for each in read],
        "unreadable": [each.fault for each in predictions if each.fault],
        "left_out": list(map(str, left_out)),
    }
