"""Scores of a model on images of any source."""

from __future__ import annotations

from typing import Any

from tasks.io.locations import find_data
from tasks.promotion.training_data import count_seen
from tasks.runs.lookup import FoundModel
from tasks.store.base import Store
from tasks.vision.data.sources import read_source
from tasks.vision.evaluation.score import match, score


def score_images(home: Store, model: FoundModel, given: str, split: str) -> dict[str, Any]:
    """Score a model on a split of a source, with images resized to the model's input size.

    Without a test split, validation images or one folder per class are scored: "scored" names the folder.
    "seen" counts images that the model was trained on, as far as `home` knows.

    Raises:
        BadInput: the source can't be read, lacks the split, or has classes that the model doesn't know.
    """
    card = model.card
    found = read_source(
        find_data(given, (split,), instead=True),
        card.architecture.image_size,
        splits=(split,),
        max_unreadable=None,
        bits=card.bits,
        fit=card.fit,
        instead=True,
    )
    part = found.splits[split]
    positions, truth = match(card, found.classes, part.labels, foreign=True)
    scores, _ = score(card, model.tensors, part.images[positions], truth)
    return {
        **scores.model_dump(mode="json", exclude={"cells"}),
        "confusion": scores.confusion,
        "unreadable": found.unreadable,
        "left_out": [str(each) for each in (*found.left_out, *found.junk)],
        "scored": found.instead or split,
        "seen": count_seen(home, model, part.images),
    }
