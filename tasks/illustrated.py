"""Figures inside a Markdown page: small copies in the text itself, since Prefect's UI serves no files."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator

from PIL import Image

from tasks.vision.model import Card, best_epoch
from tasks.vision.words import WORDS

WIDTH = 720  # pixels, about as wide as the UI's page
COLOURS = 64  # a figure's are few; a quarter of the bytes


def inline(title: str, png: bytes) -> str:
    """A Markdown picture that holds its own bytes, at most `WIDTH` pixels wide."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        small = picture.convert("RGB")
        small.thumbnail((WIDTH, 4 * WIDTH))
        small.quantize(COLOURS).save(buffer, "PNG", optimize=True)
    plain = title.translate(str.maketrans("[]\n", "() "))
    return f"![{plain}](data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()})"


def stage_figures(name: str, card: Card, confusion: list[list[int]]) -> Iterator[str]:
    """A stage's learning curves and its confusion matrix, as Markdown pictures."""
    from tasks.vision.figures import accuracy_curves, loss_curves
    from tasks.vision.grids import confusion_matrix
    from tasks.vision.sheets import png

    def title(kind: str) -> str:
        return WORDS["en"][f"title_{kind}"].format(name=name)

    best = best_epoch(card.history)
    for kind, figure in (
        ("accuracy", accuracy_curves(card.history, title("accuracy"), best)),
        ("loss", loss_curves(card.history, title("loss"), best)),
        ("confusion", confusion_matrix(confusion, card.labels, title("confusion"))),
    ):
        yield inline(f"{name}, {kind}", png(figure))
