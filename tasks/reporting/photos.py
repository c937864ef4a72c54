"""Test images with a stage's predictions, for the page: examples, mistakes, and where the model looked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from tasks.io.load import Answers
from tasks.reporting.thumbnails import Thumbnail, thumbnail
from tasks.vision.data.batches.augment import evenly_spaced
from tasks.vision.data.batches.targets import images_of
from tasks.vision.data.dataset import Dataset
from tasks.vision.data.images import Images
from tasks.vision.figures.attention import attention_picture
from tasks.vision.trained_model import Card

MOST = 20  # in a group
SIDE = 224  # pixels of a thumbnail, if the image has as many: sharp on fine screens


@dataclass(frozen=True, eq=False)
class Photo:
    """A test image, and what a stage predicts of it.

    Attributes:
        file: its path in the data as given; "" if it has no name. number: its place in the test split, from 1.
        label, probability: of the prediction. truth: its true label.
    """

    picture: Thumbnail
    file: str
    number: int
    label: str
    probability: float
    truth: str

    @property
    def right(self) -> bool:
        """Whether the prediction is correct."""
        return self.label == self.truth


@dataclass(frozen=True, eq=False)
class StagePhotos:
    """What the page shows of a stage's test images.

    Attributes:
        examples: of each label by its name, or of all together under "".
        mistakes: the most confident ones first. wrong: how many there are.
        looked: pairs of an image and of where the model looked in it; empty if it can't tell.
    """

    examples: dict[str, list[Photo]]
    mistakes: list[Photo]
    wrong: int
    looked: list[Photo]


def photos_of(card: Card, answers: Answers, data: Dataset, names: Sequence[str]) -> StagePhotos:
    """Choose and shrink the photos of a stage.

    Args:
        names: of the files of all test images.
    """
    positions, truth, probabilities, maps = answers
    images, guesses = images_of(data, "test", positions), probabilities.argmax(1)

    def photo(row: int, picture: Image.Image) -> Photo:
        at = int(positions[row])
        return Photo(
            thumbnail(picture, SIDE * picture.width // picture.height),
            names[at] if at < len(names) else "",
            at + 1,
            card.labels[guesses[row]],
            float(probabilities[row, guesses[row]]),
            card.labels[truth[row]],
        )

    def photos(rows: np.ndarray) -> list[Photo]:
        return [photo(row, Image.fromarray(image)) for row, image in _pairs(rows, images)]

    wrong = np.flatnonzero(guesses != truth)
    by_confidence = wrong[np.argsort(-probabilities[wrong].max(1), kind="stable")]
    looked = zip(_pairs(maps.answers, images), maps.evidence, strict=True) if maps else ()
    return StagePhotos(
        {label: photos(rows) for label, rows in _examples(card, truth).items()},
        photos(by_confidence[:MOST]),
        len(wrong),
        [
            photo(row, attention_picture(image, evidence.astype(np.float32)))
            for (row, image), evidence in looked
        ],
    )


def _pairs(rows: np.ndarray, images: Images) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each row with its image."""
    return zip(rows.tolist(), np.asarray(images[rows]), strict=True)


def _examples(card: Card, truth: np.ndarray) -> dict[str, np.ndarray]:
    """Return rows of examples among the answers, by the name of the group."""
    if card.binary:
        return {
            label: _spread(np.flatnonzero(truth == target), MOST)
            for target, label in enumerate(card.labels)
        }
    # Equally many of every label, rare ones included; of many labels, only some.
    some = _spread(np.unique(truth), MOST)
    each = [_spread(np.flatnonzero(truth == target), MOST // len(some)) for target in some]
    return {"": np.sort(np.concatenate(each))}


def _spread(rows: np.ndarray, most: int) -> np.ndarray:
    """Take at most `most` rows at equal distances, so that the choice favours no model."""
    return rows[evenly_spaced(len(rows), most)]
