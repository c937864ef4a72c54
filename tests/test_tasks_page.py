"""The report page: it says what the numbers say, stands alone, and escapes what it is given."""

import copy
import re
from base64 import b64encode
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise
from json import dumps as toml  # a JSON string is a TOML string
from pathlib import Path

import pytest

from tasks import page
from tasks.rivals import rivals_of
from tasks.vision import numerals
from tasks.vision.errors import BadInput
from tasks.vision.sheets import png, sheet

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
        "network": "fast",
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
HTML = page.render(DATA, drawn(DATA))
TEXT = plain(HTML)


def test_every_figure_is_embedded_once_with_a_text_of_its_own() -> None:
    images = Reader(HTML).of("img")
    wanted = {f"data:image/png;base64,{b64encode(data).decode()}" for data in drawn(DATA).values()}
    assert sorted(str(image["src"]) for image in images) == sorted(wanted)
    texts = [image["alt"] or "" for image in images]
    assert all(len(text.split()) > 5 for text in texts if text != "something/else")
    assert len(set(texts)) == len(texts)
    assert {(image["width"], image["height"]) for image in images} == {("200", "100")}


def test_the_page_refers_to_nothing_outside_itself() -> None:
    assert all(use.startswith("data:image/png") for use in re.findall(r'src="([^"]*)"', HTML))
    rest = re.sub(r'src="[^"]*"', "", HTML)
    assert not re.search(r"https?:|//[a-z]|@import|url\(|<script|<link|\bsrcset=", rest)
    targets = {attributes.get("id") for _, attributes in Reader(HTML).tags}
    assert all(str(link["href"])[1:] in targets for link in Reader(HTML).of("a"))


def test_figures_that_are_not_there_are_not_shown() -> None:
    html = page.render(DATA, {})
    assert "<img" not in html
    assert "More figures" not in html


def test_headings_go_down_one_step_at_a_time_and_tables_have_captions() -> None:
    reader = Reader(HTML)
    levels = [int(tag[1]) for tag, _ in reader.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))
    assert len(reader.of("table")) == len(reader.of("caption")) > 5
    assert all("scope" in header for header in reader.of("th"))


@pytest.mark.parametrize(
    "sentence",
    [
        "What did handing that knowledge on save, in seconds and in accuracy, at the same budget",
        "transfer ▲ gained by its start. It is right on .955 of the test images, training from "
        "scratch for 2 epochs on .914: +4.1 points in 4.7 s less. A head on a frozen random "
        "network gets .865: +9.0 points for the stage. Counting what it started from (baseline), its training "
        "took 4 min 31 s.",
        "lost ▼ lost by its start. It is right on .500 of the test images, training from scratch "
        "for 2 epochs on .920: −42.0 points in 4 min 55 s less. A head on a frozen random network does "
        "better (.600): what was handed on was in the way. Counting what it started from (baseline, transfer)",
        "tied = neither gained nor lost clearly by its start.",
        "+0.5 points in the same time. The difference in accuracy may be chance, all comparisons of this page "
        "counted; alone, on these test images, its 95 % interval goes from −0.6 to +1.6 points.",
        "A head on a frozen random network gets .920; that difference may be chance, so the hand-over itself",
        "car stands for automobile",
        "Accuracy, averaged over shifted and mirrored copies",
        "Accuracy, averaged over shifted copies",
        "↓ baseline hands on all its layers but the head; they stay frozen transfer .955 car / truck / other "
        "trains only a new head · 5.2 s for comparison: from scratch .914, a head on a frozen random "
        "network .865",
        "✓ equal",
        "✗ different: the layers were not frozen",
        "of each kernel that learns, this share was drawn anew: .50",
        "3 pictures stand in both train and test. A model may have learnt them by heart. The first "
        "1 are: train/1.png = test/2.png",
        "2 files could not be read as pictures and were left out: train/broken.png train/empty.png",
        "all 45,000 5,000 10,000",
        "Right on .980 of 5,000 test images; always naming the most frequent class would be right "
        "on .500.",
        "The best epoch on the validation images was 1; the weights of epoch 2 were kept.",
        "The weights of epoch 1, the best on the validation images, were kept.",
        "Over-fitting from epoch 3 on.",
        "Area under the precision-recall curve .954",
        "True class Taken for Times car other 57",
        "relevo run cifar10 --seed 7",
        SHA.removeprefix("sha256:"),
    ],
)
def test_the_page_says(sentence: str) -> None:
    assert sentence in TEXT


def test_an_answer_needs_no_control_and_a_run_no_transfer() -> None:
    data = copy.deepcopy(DATA)
    data["stages"] = {name: data["stages"][name] for name in ("baseline", "transfer")}
    data["stages"]["transfer"]["controls"] = {}
    data["dataset"]["duplicates"] = {"count": 0, "pairs": []}
    data["dataset"]["unreadable"] = []
    text = plain(page.render(data, {}))
    assert "transfer ? can't be judged: nothing was trained from scratch" in text
    assert "No picture stands in both train and test." in text
    assert "Every file could be read." in text
    del data["stages"]["transfer"]
    assert "No stage of this run starts from another" in plain(page.render(data, {}))


def test_stages_stand_under_the_one_they_start_from() -> None:
    [baseline, ten] = page.lineage(DATA["stages"])
    assert [node["name"] for node in baseline["next"]] == ["transfer", "tied"]
    assert [node["name"] for node in baseline["next"][0]["next"]] == ["lost"]
    assert (ten["name"], ten["next"]) == ("ten_class", [])
    orphan = page.lineage({"transfer": DATA["stages"]["transfer"]})
    assert [node["name"] for node in orphan] == ["transfer"]


def test_hostile_names_are_shown_and_do_nothing() -> None:
    evil = '"><script>alert(1)</script>{{ 7*7 }}%s%('
    data = report(lambda name: f"{evil}{name}")
    html = page.render(data, drawn(data))
    assert "<script" not in html
    assert f"{evil}truck" in unescape(html)
    assert "{{ 7*7 }}" in unescape(html)
    Reader(html)


def test_a_translation_reaches_every_word(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    marked = [f"[[message]]\nen = {toml(m)}\nxx = {toml(f'«{m}»')}\n" for m in page.messages()]
    (tmp_path / "xx.toml").write_text("".join(marked), "utf-8")
    monkeypatch.setattr(page, "TRANSLATIONS", tmp_path)
    monkeypatch.setitem(numerals.MARKS, "xx", ",")
    data = report(lambda name: f"#{sum(map(ord, name)) * 7919}#")
    html = page.render(data, {k: v for k, v in drawn(data).items() if k != "something/else"}, "xx")
    assert '<html lang="xx">' in html
    said = " ".join(Reader(html).said)
    # One message may stand inside another: take the innermost away until none is left.
    while (rest := re.sub(r"«[^«»]*»", "", said)) != said:
        said = rest
    names_and_units = {"relevo", "s", "min", "h", "fast"}
    digests = {SHA.removeprefix("sha256:")}
    assert set(re.findall(r"[0-9a-f]{64}|[a-zA-Z]+", said)) - names_and_units - digests == set()


def test_a_language_that_is_not_there_is_refused_in_one_line() -> None:
    with pytest.raises(BadInput, match=r"no report in language 'tlh'; expected one of: en, es$"):
        page.render(DATA, {}, lang="tlh")


def test_the_same_input_gives_the_same_page() -> None:
    assert page.render(DATA, drawn(DATA)) == HTML


def test_one_epoch_is_not_many_in_the_words_for_a_curve() -> None:
    one = copy.deepcopy(DATA)
    for entry in one["stages"].values():
        entry["history"] = entry["history"][:1]
    assert "over 1 epoch: training" in page.render(one, drawn(one))
    assert "en 1 época: el" in page.render(one, drawn(one), "es")
    assert "over 2 epochs: training" in page.render(DATA, drawn(DATA))
