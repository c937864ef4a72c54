"""Models are compared on images that neither was trained on, as far as the store and their pixels say."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from support.compared import CLASSES, PICTURES, data_set
from support.compared import model_of_run as model
from support.images import encoded, write_folder
from support.stores import mark

from tasks.promotion.compare_models import compare_models
from tasks.promotion.gate import Gate
from tasks.promotion.training_data import TrainingData
from tasks.store.base import Store
from tasks.vision.errors import BadInput


@pytest.fixture
def home(tmp_path: Path) -> Store:
    return mark(tmp_path / "store")


def test_images_that_the_other_model_was_trained_on_are_left_out(home: Store) -> None:
    old = model(home, "old", data_set(home, range(60), range(60, 90)))
    # The new data has new images for test, and three that the old model has learnt by heart.
    new = model(home, "newer", data_set(home, range(3, 120), [0, 1, 2, *range(150, 180)]))
    found = compare_models(home, old, new, Gate())
    assert (found.images, found.left_out) == (30, 3)
    assert found.data == "the test split of newer"


def test_models_without_a_new_image_are_not_compared(home: Store) -> None:
    old = model(home, "old", data_set(home, range(60), range(60, 90)))
    new = model(home, "newer", data_set(home, range(60, 120), range(30)))
    with pytest.raises(BadInput, match=r"the models were trained on all of these images; .*--data"):
        compare_models(home, old, new, Gate())


def test_duplicates_in_a_models_own_data_are_left_out(home: Store) -> None:
    data = data_set(home, range(60), [0, *range(60, 90)])
    found = compare_models(home, model(home, "old", data), model(home, "newer", data), Gate())
    assert (found.images, found.left_out) == (30, 1)


def test_a_model_was_trained_on_what_it_started_from_was(home: Store) -> None:
    first = data_set(home, range(60), range(60, 90))
    second = data_set(home, range(90, 150), [0, 1, *range(150, 180)])
    model(home, "one", first)
    old, new = model(home, "other", second, "one/baseline"), model(home, "another", second)
    trained = TrainingData()
    trained.add(home, old)
    assert trained.datasets.keys() == {first.digest, second.digest}
    found = compare_models(home, old, new, Gate())
    assert (found.images, found.left_out) == (30, 2)


@pytest.mark.parametrize(
    "start", ["/elsewhere/runs/x/models/baseline", "s3://b/m/x", "gone/baseline"]
)
def test_what_is_not_known_is_refused_or_said(start: str, home: Store, tmp_path: Path) -> None:
    data = data_set(home, range(60), range(60, 90))
    old, new = model(home, "old", data, start), model(home, "newer", data)
    with pytest.raises(BadInput, match=r"can't be established: .*--data SOURCE") as refused:
        compare_models(home, old, new, Gate())
    assert "\n" not in str(refused.value)
    files = {
        f"test/{CLASSES[row % 3]}/{row}.png": encoded(Image.fromarray(PICTURES[row]), "PNG")
        for row in [0, 1, *range(150, 180)]
    }
    given = str(write_folder(tmp_path / "given", files))
    found = compare_models(home, old, new, Gate(data=given))
    assert (found.data, found.images, found.left_out) == (given, 30, 2)
    assert start in found.unknown


def test_images_of_another_size_have_other_pixels(home: Store) -> None:
    old = model(home, "old", data_set(home, range(60), range(60, 90), size=32))
    new = model(home, "newer", data_set(home, range(60), range(60, 90)))
    with pytest.raises(BadInput, match=r"was prepared as 16 pixels, 'crop', .*--data SOURCE"):
        compare_models(home, old, new, Gate())
