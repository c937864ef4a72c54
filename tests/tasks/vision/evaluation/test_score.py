"""Class names of the images to score are matched to the model's labels."""

from __future__ import annotations

import numpy as np
import pytest
from support.cards import bare_card

from tasks.vision.errors import BadInput
from tasks.vision.evaluation.score import match
from tasks.vision.recipe.schema import Network
from tasks.vision.trained_model import Architecture

CARD = bare_card(
    Architecture(
        network=Network(), image_size=32, outputs=1, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2)
    ),
    labels=["car", "truck"],
    classes=[["automobile"], ["truck"]],
)


def test_a_class_is_known_by_its_own_name_and_by_its_label() -> None:
    labels = np.array([0, 1, 1, 0])
    for classes in (["automobile", "truck"], ["car", "truck"]):
        positions, truth = match(CARD, classes, labels, foreign=True)
        assert positions.tolist() == [0, 1, 2, 3]
        assert truth.tolist() == [0, 1, 1, 0]
    assert match(CARD, ["truck"], np.array([0]), foreign=True)[1].tolist() == [1]


def test_a_strange_class_in_foreign_data_is_named() -> None:
    with pytest.raises(
        BadInput, match="'bird' is unknown to the model; it knows automobile, truck"
    ):
        match(CARD, ["automobile", "bird"], np.array([0, 1]), foreign=True)


def test_a_class_that_the_scheme_leaves_out_is_not_scored() -> None:
    positions, truth = match(CARD, ["automobile", "bird", "truck"], np.array([1, 2, 0, 1]))
    assert positions.tolist() == [1, 2]
    assert truth.tolist() == [1, 0]
