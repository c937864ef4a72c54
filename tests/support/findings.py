"""A check of a small data set that has found something of every kind."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tasks.vision.check.checked import Checked
from tasks.vision.check.findings import (
    FileFindings,
    FileSize,
    Flawed,
    Group,
    ImageFindings,
    LabelFindings,
    SuspiciousLabel,
)
from tasks.vision.check.whole import Whole
from tasks.vision.data.dataset import Description, Listed


def checked_set(word: Callable[[str], str] = str) -> Checked:
    """Twelve images of three classes; `word` renames everything with a name."""
    classes = [word(name) for name in ("cherry", "fig", "plum")]
    names = [word(f"train/{row}.png") for row in range(12)]
    splits = np.array(["train"] * 8 + ["validation"] * 2 + ["test"] * 2)
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)
    labels = np.arange(12, dtype=np.int32) % 3
    about = Description(
        image_size=8,
        classes=classes,
        counts={"train": [500, 40, 3], "validation": [1, 1, 0], "test": [1, 1, 0]},
        unreadable=Listed.of([f"{word('train/torn.png')}: cut off"] * 300),
        odd=Listed.of([f"{word('train/clear.png')}: its transparency was ignored"]),
    )
    wide = FileSize(name=names[4], width=400, height=100)
    tiny = FileSize(name=names[5], width=3, height=3)
    return Checked(
        about,
        Whole(images, labels, splits, names, classes),
        ImageFindings(
            flawed=(
                Flawed(kind="blank", rows=(0,), values=(0.5,)),
                Flawed(kind="dark", rows=(1,), values=(0.1,)),
                Flawed(kind="blurred", rows=(2,), values=(3.0,)),
            ),
            duplicates=(
                Group(rows=(3, 6), same=True),
                Group(rows=(4, 11), same=True),
                Group(rows=(7, 10), same=False),
            ),
        ),
        FileFindings(
            files=12,
            formats={"PNG": 11, "JPEG": 1},
            modes={"RGB": 12},
            sides=(3, 8, 100),
            smaller=1,
            small=(tiny, FileSize(name="train/torn.png", width=1, height=1)),
            long=(wide,),
        ),
        LabelFindings(
            basis="out of fold",
            judged=12,
            suspicious=(
                SuspiciousLabel(
                    row=9, given=classes[0], likely=classes[2], score=0.004, probability=0.99
                ),
            ),
            wrong=1,
            too_small=(classes[2],),
        ),
    )
