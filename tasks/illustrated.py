"""Figures inside a Markdown page: small copies in the text itself, since Prefect's UI serves no files."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator

from PIL import Image

from tasks.kept import load_evaluation, load_model
from tasks.publish import Trained
from tasks.vision.model import best_epoch

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


def stage_figures(name: str, trained: Trained, store: str) -> Iterator[str]:
    """A stage's learning curves and its confusion matrix, as Markdown pictures."""
    from tasks.vision.figures import accuracy_curves, loss_curves, png
    from tasks.vision.grids import confusion_matrix

    card, _ = load_model(trained.model, store)
    summary, _ = load_evaluation(trained.scores, store)
    best = best_epoch(card.history)
    figures = {
        "accuracy": accuracy_curves(card.history, f"{name}: accuracy", best),
        "loss": loss_curves(card.history, f"{name}: loss", best),
        "confusion": confusion_matrix(summary["confusion"], card.labels, f"{name}: confusion"),
    }
    for kind, figure in figures.items():
        yield inline(f"{name}, {kind}", png(figure))
