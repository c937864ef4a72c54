"""What a report is made from, and a page read back."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import numpy as np
from PIL import Image

from support.command import ROOT
from tasks.io.load import Answers
from tasks.reporting.baselines import baselines_of
from tasks.reporting.content import Comparison, ReportContent, ReportInput, StageContent
from tasks.reporting.html import FOLDER, environment
from tasks.reporting.photos import Photo, StagePhotos
from tasks.reporting.thumbnails import thumbnail
from tasks.store.base import Ref
from tasks.vision.data.dataset import Description, Listed
from tasks.vision.evaluation.scores import Metrics, Scores, cells_of
from tasks.vision.figures.style import new_figure, png
from tasks.vision.figures.words import ENGLISH
from tasks.vision.files.left_out import LeftOut
from tasks.vision.recipe.schema import Network
from tasks.vision.trained_model import Architecture, Card

PNG = png(new_figure(2, 1, "figure"))
KINDS = ("loss", "accuracy", "confusion", "reliability")
DIGEST = "0123456789abcdef" * 4


def scores(accuracy: float, labels: list[str]) -> Scores:
    binary = len(labels) == 2
    metrics = Metrics(
        images=5000,
        accuracy=accuracy,
        accuracy_interval=(accuracy - 0.01, accuracy + 0.01),
        majority=0.5,
        balanced_accuracy=accuracy - 0.02,
        recall=dict.fromkeys(labels, 0.9),
        precision=dict.fromkeys(labels, 0.8),
        roc_auc=0.991 if binary else None,
        pr_auc=0.954 if binary else None,
        ece=0.021,
        brier=0.04,
        accuracy_tta=None if binary else 0.97,
    )
    return Scores(
        labels=labels,
        cells=cells_of([[1] * len(labels)] * len(labels)),
        confused=[(labels[0], labels[1], 57)],
        reliability=[],
        metrics=metrics,
    )


def history(*validation_losses: float) -> list[dict[str, float]]:
    """An epoch for each loss; the first has the best validation accuracy."""
    return [
        {
            "epoch": epoch,
            "loss": 0.5,
            "accuracy": 0.8 + epoch / 100,
            "seconds": 1.0,
            "validation_loss": loss,
            "validation_accuracy": 0.85 - epoch / 1000,
        }
        for epoch, loss in enumerate(validation_losses, start=1)
    ]


def stage(accuracy: float, seconds: float, labels: list[str], start: str | None) -> StageContent:
    outputs = 1 if len(labels) == 2 else len(labels)
    grey = (0.5, 0.5, 0.5)
    card = Card(
        architecture=Architecture(
            network=Network(), image_size=32, outputs=outputs, mean=grey, std=grey
        ),
        labels=labels,
        classes=[["automobile"], *([label] for label in labels[1:])],
        train="head" if start else "all",
        epochs=2,
        selected_epoch=1,
        seconds=seconds,
        images=18000,
        images_per_second=12345.6,
        flip=start is None,
        device="cpu",
        history=history(0.4, 0.41),
    )
    # The page takes correctness from the comparisons.
    answers = Answers(np.arange(1), np.zeros(1, int), np.ones((1, len(labels))))
    return StageContent(start, DIGEST, card, scores(accuracy, labels), answers)


def change(content: StageContent, **values: object) -> StageContent:
    """The stage with other values on its card."""
    return replace(content, card=content.card.model_copy(update=values))


def report(word: Callable[[str], str] = str) -> ReportContent:
    """A baseline and transfers that gain, lose and tie; `word` renames everything with a name."""
    car, truck, other = word("car"), word("truck"), word("other")
    three, ten = [car, truck, other], [f"{word('class')}{i}" for i in range(10)]
    names = [word(name) for name in ("baseline", "transfer", "ten_class", "lost", "tied")]
    sha = f"sha256:{DIGEST}"
    frozen = {"tensors": 17, "parent_digest": sha, "digest": sha, "equal": True}
    baseline = change(stage(0.98, 265.4, [car, other], None), selected_epoch=2)
    transfer = change(stage(0.955, 5.2, three, names[0]), frozen=frozen)
    lost = change(stage(0.5, 6.1, ten, names[1]), perturb=0.5, frozen=frozen | {"equal": False})
    tied = change(stage(0.925, 301.0, ten, names[0]), frozen_blocks=1)
    controls = {
        "scratch": stage(0.914, 9.9, three, None),
        "random": stage(0.865, 5.2, three, None),
    }
    stages = {
        names[0]: change(baseline, history=history(0.5, 0.4, 0.5, 0.6, 0.7)),
        names[1]: replace(transfer, controls=controls),
        names[2]: stage(0.92, 301.0, ten, None),
        names[3]: replace(lost, controls={"random": stage(0.6, 6.0, ten, None)}),
        names[4]: replace(tied, controls={"random": stage(0.92, 200.0, ten, None)}),
    }
    duplicate = (word("train/1.png"), word("test/2.png"))
    description = Description(
        image_size=32,
        classes=ten,
        counts={"train": [4500] * 10, "validation": [500] * 10, "test": [1000] * 10},
        duplicates=Listed.of([duplicate] * 23),
        contradictions=Listed.of([(word("train/a/1.png"), word("train/b/1.png"))]),
        odd=Listed.of([word("train/cut.jpg"), word("train/clear.png")]),
        bits=12,
        validation=word("valid"),
        unreadable=Listed.of([word("train/broken.png"), word("train/empty.png")]),
        left_out=(
            LeftOut(reason="no_image", kind=word(".tga"), count=3, example=word("train/a/1.tga")),
        ),
    )
    run = ReportInput(
        lang="en",
        title=word("cifar10"),
        description=word("Cars first."),
        recipe_toml=word("epochs = 2"),
        device=word("cpu"),
        versions={"relevo": "0.1.0", word("keras"): "3.15.1"},
        command=word("relevo run cifar10 --seed 7"),
        check=word("relevo check cars.toml"),
        seed=7,
        source=word("cifar10"),
        dataset=Ref(kind="dataset", uri="x", sha256=DIGEST, size=1, digest=DIGEST),
        stages={},
    )
    photos = {name: stage_photos(content, word) for name, content in stages.items()}
    return ReportContent(run, description, stages, comparisons(stages), photos=photos)


def stage_photos(content: StageContent, word: Callable[[str], str]) -> StagePhotos:
    """A correct prediction, and a mistake on an image without a name."""
    right, wrong, *_ = content.labels
    tiny = thumbnail(Image.new("RGB", (8, 8)), 100)
    hit = Photo(tiny, word("test/car/1.png"), 1, right, 0.97, right)
    miss = Photo(thumbnail(Image.new("RGB", (300, 300)), 100), "", 17, wrong, 0.999, right)
    examples = {right: [hit], wrong: []} if content.card.binary else {"": [hit, miss]}
    return StagePhotos(examples, [miss], 57, [hit])


def comparisons(stages: dict[str, StageContent]) -> dict[str, list[Comparison]]:
    """Differences of two points and more are significant."""
    found: dict[str, list[Comparison]] = {}
    for name, content in stages.items():
        if content.start:
            rows = [
                Comparison(content, each, False, (-0.6, 1.6)) for each in baselines_of(name, stages)
            ]
            found[name] = [replace(row, significant=abs(row.points) >= 2) for row in rows]
    return found


def drawn(data: ReportContent) -> dict[str, bytes]:
    names = ["class_distribution", "something/else"]
    names += [f"{name}/{kind}" for name in data.stages for kind in KINDS]
    return {name: PNG + str(i).encode() for i, name in enumerate(names)}


def page_messages() -> set[str]:
    """Every English message of the templates, plurals included."""
    jinja, texts = environment(ENGLISH), set[str]()
    for template in FOLDER.glob("*.html"):
        found = jinja.extract_translations(template.read_text("utf-8"))  # type: ignore[attr-defined]
        for _, _, message in found:
            parts = message if isinstance(message, tuple) else (message,)
            texts.update(part for part in parts if isinstance(part, str))
    return texts


def calls_of_words() -> Iterator[ast.expr]:
    """The message in every call of `words` in the code of figures and report."""
    for folder in ("tasks/vision/figures", "tasks/reporting"):
        for path in (ROOT / folder).glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                # In a method of Words it is `self`.
                if isinstance(node, ast.Call) and ast.unparse(node.func) in ("words", "self"):
                    yield node.args[0]


def messages() -> set[str]:
    """Every English message of page and figures: what a translation has to cover."""
    figures = {str(node.value) for node in calls_of_words() if isinstance(node, ast.Constant)}
    return page_messages() | figures


class Reader(HTMLParser):
    """Collects the text for readers and screen readers, and checks that tags close in order."""

    VOID = ("meta", "img", "br", "link", "wbr")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.said: list[str] = []
        self.feed(html)
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        spoken = ("alt", "aria-label", "data-label")
        self.said += [value for key, value in attrs if key in spoken and value]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.said.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def plain(html: str) -> str:
    html = re.sub(r"<style>.*</style>", "", html, flags=re.S)
    html = re.sub(r"</?(?:b|a|span|code|wbr)\b[^>]*>", "", html)
    text = unescape(re.sub(r"<[^>]+>", " ", html))
    return re.sub(r"\s+", " ", text)


DATA = report()
