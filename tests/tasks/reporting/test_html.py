"""The report page: it says what the numbers say, stands alone, and escapes what it is given."""

import copy
import re
from base64 import b64encode
from html import unescape
from itertools import pairwise
from json import dumps as toml  # a JSON string is a TOML string
from pathlib import Path

import pytest
from support.pages import DATA, SHA, Reader, drawn, plain, report

from tasks.reporting import html as page
from tasks.vision.errors import BadInput
from tasks.vision.figures import numbers

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
    monkeypatch.setitem(numbers.MARKS, "xx", ",")
    data = report(lambda name: f"#{sum(map(ord, name)) * 7919}#")
    html = page.render(data, {k: v for k, v in drawn(data).items() if k != "something/else"}, "xx")
    assert '<html lang="xx">' in html
    said = " ".join(Reader(html).said)
    # One message may stand inside another: take the innermost away until none is left.
    while (rest := re.sub(r"«[^«»]*»", "", said)) != said:
        said = rest
    names_and_units = {"relevo", "s", "min", "h", "airbench"}
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
