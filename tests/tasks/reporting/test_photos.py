"""Photos in the report: which ones, with the names of their files, and how many bytes they take."""

from __future__ import annotations

import io
from base64 import b64decode

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images
from support.pages import stage

from tasks.io.load import Answers
from tasks.reporting.photos import MOST, Photo, StagePhotos, photos_of
from tasks.vision.data.dataset import Dataset, Description
from tasks.vision.evaluation.attention import Maps

LABELS = ["temple", "flower", "neither"]
SIZE, COUNT, WRONG = 224, 90, 30


def cuts() -> np.ndarray:
    """Parts of two real photos, (n, 224, 224, 3) uint8."""
    photos, random = load_sample_images().images, np.random.default_rng(0)
    corners = zip(random.integers(203, size=COUNT), random.integers(416, size=COUNT), strict=True)
    return np.stack([photos[i % 2][y : y + SIZE, x : x + SIZE] for i, (y, x) in enumerate(corners)])


@pytest.fixture(scope="module")
def shown() -> StagePhotos:
    """A third of the predictions are wrong; the last image has no name."""
    truth = np.arange(COUNT) % 3
    guesses = np.where(np.arange(COUNT) < WRONG, (truth + 1) % 3, truth)
    sure = np.linspace(0.5, 0.9, COUNT)[:, None]
    probabilities = np.where(np.eye(3, dtype=bool)[guesses], sure, (1 - sure) / 2)
    maps = Maps(np.array([0, 40]), np.random.default_rng(1).integers(0, 256, (2, 7, 7), np.uint8))
    about = Description(image_size=SIZE, classes=LABELS, counts={"test": [30, 30, 30]})
    names = [f"test/{LABELS[label]}/{row}.jpg" for row, label in enumerate(truth[:-1])]
    data = Dataset(about, {}, {"test": cuts()})
    answers = Answers(np.arange(COUNT), truth, probabilities, maps)
    return photos_of(stage(0.9, 1.0, LABELS, None).card, answers, data, names)


def bytes_of(photos: list[Photo]) -> int:
    return sum(len(each.picture.uri) for each in photos)


def test_mistakes_are_the_most_confident_ones_with_their_files(shown: StagePhotos) -> None:
    assert len(shown.mistakes) == MOST < shown.wrong == WRONG
    assert [each.file.rpartition("/")[2] for each in shown.mistakes[:2]] == ["29.jpg", "28.jpg"]
    assert not any(each.right for each in shown.mistakes)
    assert all(each.file.split("/")[1] == each.truth for each in shown.mistakes)


def test_examples_are_of_every_label_and_an_image_without_a_name_has_a_number(
    shown: StagePhotos,
) -> None:
    [examples] = shown.examples.values()
    assert {each.truth for each in examples} == set(LABELS)
    assert len(examples) <= MOST
    assert {each.number for each in examples if not each.file} <= {COUNT}


def test_pictures_look_as_they_are_in_few_bytes(shown: StagePhotos) -> None:
    [examples] = shown.examples.values()
    both = [*examples, *shown.mistakes]
    assert bytes_of(both) < 25_000 * len(both)
    images = cuts()
    for each in both:
        with Image.open(io.BytesIO(b64decode(each.picture.uri.partition(",")[2]))) as picture:
            assert picture.size == (SIZE, SIZE)
            difference = np.asarray(picture, float) - images[each.number - 1]
        assert np.sqrt((difference**2).mean()) < 12
    with Image.open(io.BytesIO(b64decode(shown.looked[0].picture.uri.partition(",")[2]))) as pair:
        assert pair.size == (2 * SIZE + 4, SIZE)
