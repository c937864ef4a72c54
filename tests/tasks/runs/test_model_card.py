"""Model cards say what is true of this model, and their nouns agree with their numbers."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from support.cards import bare_card
from support.results import bare_scores

from tasks.runs.model_card import Facts, model_card
from tasks.store.base import Ref
from tasks.vision.data.dataset import Description, Listed
from tasks.vision.export.files import labels_json
from tasks.vision.recipe.schema import Network
from tasks.vision.trained_model import Architecture


def facts(**card: Any) -> Facts:
    built = Architecture(network=Network(), image_size=32, outputs=1, mean=(0, 0, 0), std=(1, 1, 1))
    bare = bare_card(built, ["a", "b"], [["a"], ["b"]])
    ref = Ref(kind="model", uri="x", sha256="0" * 64, size=1, digest="0" * 64)
    data = Description.model_construct(
        classes=["a", "b"],
        counts={"train": [1, 1], "validation": [1, 1], "test": [1, 0]},
        image_size=32,
        unreadable=Listed.of(["train/a/1.png: damaged"]),
        duplicates=Listed.of([("a", "b")]),
    )
    return Facts(
        stage="s",
        run="r",
        recipe="mine",
        seed=0,
        source="photos",
        card=bare.model_copy(update=card),
        model=ref,
        limits={},
        scores=bare_scores(["a", "b"]),
        dataset=ref,
        data=data,
        start=None,
        versions={},
    )


def test_card_says_which_share_of_transferred_kernels_was_perturbed() -> None:
    start = ("baseline", facts().model)
    page = model_card(replace(facts(perturb=0.5), start=start))
    assert "| perturbed | 50% random weights mixed into each trainable kernel" in page
    assert "perturbed" not in model_card(replace(facts(), start=start))


def test_card_escapes_names() -> None:
    page = model_card(replace(facts(), stage="*a*\n# b | c", source="x`y|z"))
    assert "\n# \\*a\\* \\# b \\| c\n" in page
    assert "`x'y/z`" in page


def test_card_has_no_unfilled_lines() -> None:
    start = ("baseline", facts().model)
    full = facts(perturb=0.5, frozen={"tensors": 4, "equal": True}, frozen_blocks=2, flip=False)
    scores = replace(full, start=start, limits={"a": 1, "b": 2}, versions={"x": "1", "y": "2"})
    for page in (model_card(facts()), model_card(scores)):
        assert "\n\n\n" not in page
        assert not re.search(r"{[{%]|[%}]}| \n", page)
        assert page.endswith(" |\n")


@pytest.mark.parametrize("train", ["all", "head", "head then all"])
def test_card_mentions_mirror_images_where_trained_on_them(train: str) -> None:
    without, with_them = (model_card(facts(train=train, flip=flip)) for flip in (False, True))
    assert "averaged over moved copies" in without
    assert "It never saw mirror images." in without
    assert "averaged over moved and mirrored copies" in with_them
    assert "never saw" not in with_them


def test_card_uses_singular_for_one() -> None:
    page = model_card(facts(frozen_blocks=1))
    for words in (
        "but the first block, 1 epoch on 1 image;",
        "On 1 test image,",
        "1 test image has a twin",
        "(1 file could not be read)",
    ):
        assert words in page
    assert "2 epochs on 3,000 images;" in model_card(facts(epochs=2, images=3000))


def test_card_and_labels_say_how_16_bit_images_are_scaled() -> None:
    plain, deep = facts(), facts(bits=12)
    assert '"rb").read(), 32, bits=12)' in model_card(deep)
    assert '"rb").read(), 32)' in model_card(plain)
    assert b"decode(data, 32, bits=12)" in labels_json(deep.card)
    assert b"bits" not in labels_json(plain.card)
