"""What a report is made from, and a page read back."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser

from tasks.reporting.baselines import rivals_of
from tasks.vision.figures.style import png, sheet

PNG = png(sheet(2, 1, "figure"))


KINDS = ("loss", "accuracy", "confusion", "reliability", "mistakes", "predictions_all")


SHA = "sha256:" + "0123456789abcdef" * 4


def scores(accuracy: float, labels: list[str], binary: bool = False) -> dict:
    return {
        "accuracy": accuracy,
        "accuracy_interval": [accuracy - 0.01, accuracy + 0.01],
        "majority": 0.5,
        "balanced_accuracy": accuracy - 0.02,
        "recall": dict.fromkeys(labels, 0.9),
        "precision": dict.fromkeys(labels, 0.8),
        "roc_auc": 0.991 if binary else None,
        "pr_auc": 0.954 if binary else None,
        "ece": 0.021,
        "brier": 0.04,
        "images": 5000,
        "accuracy_tta": None if binary else 0.97,
    }


def stage(accuracy: float, seconds: float, labels: list[str], start: str | None) -> dict:
    entry = {"epoch": 1, "loss": 0.5, "accuracy": 0.8, "seconds": 1.0}
    entry |= {"validation_loss": 0.4, "validation_accuracy": 0.85}
    return {
        "labels": labels,
        "groups": {labels[0]: ["automobile"]},
        "flip": start is None,
        "positive": labels[0] if start is None else None,
        "start": start,
        "trains": "head" if start else "all",
        "network": "airbench",
        "epochs": 2,
        "seconds": seconds,
        "images_per_second": 12345.6,
        "train_images": 18000,
        "history": [entry, entry | {"epoch": 2}],
        "best_epoch": 1,
        "kept_epoch": 1,
        "overfitting": "",
        "model_digest": SHA,
        "frozen": None,
        "frozen_blocks": 0,
        "perturb": 0.0,
        "metrics": scores(accuracy, labels, binary=len(labels) == 2),
        "confusion": [[1] * len(labels)] * len(labels),
        "confused": [[labels[0], labels[1], 57]],
        "controls": {},
    }


def report(word: Callable[[str], str] = str) -> dict:
    """A baseline and transfers that gain, lose and tie; `word` renames everything with a name."""
    car, truck, other = word("car"), word("truck"), word("other")
    three, ten = [car, truck, other], [f"{word('class')}{i}" for i in range(10)]
    names = [word(name) for name in ("baseline", "transfer", "ten_class", "lost", "tied")]
    stages = {
        names[0]: stage(0.98, 265.4, [car, other], None),
        names[1]: stage(0.955, 5.2, three, names[0]),
        names[2]: stage(0.92, 301.0, ten, None),
        names[3]: stage(0.5, 6.1, ten, names[1]),
        names[4]: stage(0.925, 301.0, ten, names[0]),
    }
    stages[names[0]]["overfitting"] = word("Over-fitting from epoch 3 on.")
    stages[names[0]]["kept_epoch"] = 2
    stages[names[1]]["controls"] = {
        "scratch": stage(0.914, 9.9, three, None),
        "random": stage(0.865, 5.2, three, None),
    }
    stages[names[4]]["frozen_blocks"] = 1
    stages[names[3]]["perturb"] = 0.5
    stages[names[3]]["controls"] = {"random": stage(0.6, 6.0, ten, None)}
    stages[names[4]]["controls"] = {"random": stage(0.92, 200.0, ten, None)}
    for name, each in stages.items():
        each["differences"] = {
            title: {
                "chance": abs(each["metrics"]["accuracy"] - rival["metrics"]["accuracy"]) < 0.02,
                "interval": [-0.6, 1.6],
            }
            for _, title, rival in rivals_of(name, stages)
        }
    equal = {"parent": names[0], "tensors": 17, "parent_digest": SHA, "digest": SHA, "equal": True}
    stages[names[1]]["frozen"] = equal
    stages[names[3]]["frozen"] = equal | {"equal": False}
    return {
        "title": word("cifar10"),
        "description": word("Cars first."),
        "recipe_toml": word("epochs = 2"),
        "device": word("cpu"),
        "versions": {"relevo": "0.1.0", word("keras"): "3.15.1"},
        "command": word("relevo run cifar10 --seed 7"),
        "seed": 7,
        "dataset": {
            "digest": SHA,
            "source": word("cifar10"),
            "image_size": 32,
            "classes": ten,
            "counts": {"train": [4500] * 10, "validation": [500] * 10, "test": [1000] * 10},
            "duplicates": {"count": 3, "pairs": [[word("train/1.png"), word("test/2.png")]]},
            "unreadable": [word("train/broken.png"), word("train/empty.png")],
        },
        "stages": stages,
    }


def drawn(data: dict) -> dict[str, bytes]:
    names = ["class_distribution", "something/else"]
    names += [f"{name}/{kind}" for name in data["stages"] for kind in KINDS]
    return {name: PNG + str(i).encode() for i, name in enumerate(names)}


class Reader(HTMLParser):
    """Collects what a reader or a screen reader meets, and checks that tags close in order."""

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
