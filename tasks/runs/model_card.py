"""A model card: what a model does, what it was trained on, how good it is, and what was never tested.

After Mitchell et al., arXiv 1810.03993. It is the README.md of a model's folder; `model_card.md` is
its template.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from tasks.progress import counted, duration
from tasks.runs.markdown import code, plain
from tasks.store.base import Ref
from tasks.vision.data.dataset import Description
from tasks.vision.evaluation.scores import Scores
from tasks.vision.export.files import LABELS, reading_options
from tasks.vision.export.reader import READER
from tasks.vision.pictures.fit import SHOWS
from tasks.vision.trained_model import Card

TEMPLATE = Path(__file__).with_name("model_card.md")
FEW = 100  # test images of a label, below which its precision and recall are called rough


@dataclass(frozen=True)
class Facts:
    """What a card is written from.

    Attributes:
        stage, run, recipe, seed: where the model comes from. source: of the images, as given.
        limits: label -> maximum number of training images.
        scores: on the test split. start: the stage or trained model that it starts from.
        versions: of the packages that computed it.
    """

    stage: str
    run: str
    recipe: str
    seed: int
    source: str
    card: Card
    model: Ref
    limits: dict[str, int]
    scores: Scores
    dataset: Ref
    data: Description
    start: tuple[str, Ref] | None
    versions: dict[str, str]


@dataclass(frozen=True)
class Label:
    """A label in the card: the classes that it stands for, and its numbers of images."""

    name: str
    classes: list[str]
    training: int
    tested: int


def model_card(facts: Facts) -> str:
    """Return the card in Markdown, with the header that model hubs read."""
    card, labels = facts.card, _labels(facts)
    *others, last = [f"**{plain(label)}**" for label in card.labels]
    blocks = "block" if card.frozen_blocks == 1 else f"{card.frozen_blocks} blocks"
    return (
        _environment()
        .get_template(TEMPLATE.name)
        .render(
            **vars(facts),
            size=card.architecture.image_size,
            choice=f"{', '.join(others)} or {last}",
            labels=labels,
            rare=[label for label in labels if label.tested < FEW],
            labels_file=LABELS,
            reading_options=reading_options(card),
            shows=SHOWS[card.fit],
            reader_file=READER,
            metrics=facts.scores.metrics,
            confused=facts.scores.confused[:3],
            duplicates=facts.data.duplicates.count,
            frozen_blocks=f" but the first {blocks}" if card.frozen_blocks else "",
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=select_autoescape(),  # off for .md: names are escaped by `plain` and `code`
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(plain=plain, code=code, counted=counted, duration=duration)
    environment.filters.update(number="{:,}".format, share="{:.4f}".format)
    return environment


def _labels(facts: Facts) -> list[Label]:
    images = dict(zip(facts.data.classes, facts.data.counts["train"], strict=True))
    rows = []
    for name, classes, confused in zip(
        facts.card.labels, facts.card.classes, facts.scores.confusion, strict=True
    ):
        training = sum(images.get(each, 0) for each in classes)
        training = min(training, facts.limits.get(name, training))
        rows.append(Label(name, classes, training, sum(confused)))
    return rows
