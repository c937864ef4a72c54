"""The report page: it agrees with the numbers, is self-contained, and escapes its input."""

import re
import shlex
from base64 import b64encode
from dataclasses import replace
from html import unescape
from itertools import pairwise
from json import dumps as toml  # a JSON string is a TOML string
from pathlib import Path
from typing import Any

import pytest
from support.pages import (
    DATA,
    DIGEST,
    Reader,
    change,
    comparisons,
    drawn,
    history,
    messages,
    plain,
    report,
)

from tasks.reporting import html as page
from tasks.runs.next_commands import fill_in
from tasks.vision.data.dataset import Listed, MadeSplits
from tasks.vision.errors import BadInput
from tasks.vision.figures import numbers
from tasks.vision.figures.words import ENGLISH
from tasks.vision.recipe.schema import Network

HTML = page.render(DATA, drawn(DATA))
TEXT = plain(HTML)


@pytest.mark.parametrize("name", ["report", "check", "sweep"])
def test_pages_share_one_frame(name: str) -> None:
    text = (page.FOLDER / f"{name}.html").read_text("utf-8")
    assert text.startswith('{% extends "base.html" %}')
    assert not re.search(r"<(html|head|style|footer)\b", text)
    assert HTML.startswith("<!doctype html>")


def test_every_figure_is_embedded_once_with_a_text_of_its_own() -> None:
    images = [image for image in Reader(HTML).of("img") if "width" in image]
    wanted = {f"data:image/png;base64,{b64encode(data).decode()}" for data in drawn(DATA).values()}
    assert sorted(str(image["src"]) for image in images) == sorted(wanted)
    texts = [image["alt"] or "" for image in images]
    assert all(len(text.split()) > 5 for text in texts if text != "something/else")
    assert len(set(texts)) == len(texts)
    assert {(image["width"], image["height"]) for image in images} == {("200", "100")}


def test_the_page_refers_to_nothing_outside_itself() -> None:
    assert all(use.startswith("data:image/") for use in re.findall(r'src="([^"]*)"', HTML))
    rest = re.sub(r'src="[^"]*"', "", HTML)
    assert not re.search(r"https?:|//[a-z]|@import|url\(|<script|<link|\bsrcset=", rest)
    targets = {attributes.get("id") for _, attributes in Reader(HTML).tags}
    assert all(str(link["href"])[1:] in targets for link in Reader(HTML).of("a"))


def test_figures_that_are_not_there_are_not_shown() -> None:
    html = page.render(replace(DATA, photos={}), {})
    assert "<img" not in html
    assert "More figures" not in html


def test_the_result_comes_first_then_how_it_was_reached_then_the_details() -> None:
    parts = [attributes["id"] for tag, attributes in Reader(HTML).tags if tag == "section"]
    assert parts == [
        *("result", "next", "mistakes", "chain", "worth", "data", "stages", "calibration", "more"),
        "reproduce",
    ]
    first = TEXT[TEXT.index("Result tied") : TEXT.index("What to do next Classify")]
    assert "tied labels 4,625 of 5,000 test images correctly: an accuracy of .925." in first
    assert "Of 3 models with these labels, it was chosen by its accuracy on the validation" in first
    assert "Training it took 5 min 1 s (cpu)." in first


def test_photos_have_the_names_of_their_files_or_numbers() -> None:
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", HTML, re.S)
    texts = {plain(each).strip() for each in captions}
    assert "✓ class0 .97 test/car/1.png" in texts
    assert "✗ class1 >.99 true: class0 test image 17" in texts
    assert "1 of 57 are shown." in TEXT


def test_commands_name_the_run_and_a_store_where_it_is_needed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RELEVO_STORE", raising=False)

    def commands(store: str, html: str = HTML) -> list[str]:
        filled = fill_in(html.encode(), "first", store).decode()
        return [unescape(each) for each in re.findall(r'command"[^>]*>([^<]*)</pre>', filled)]

    here = str(tmp_path / "artifacts")
    assert commands(here) == [
        "relevo predict first/tied more-photos --csv seen.csv",
        "relevo promote first/tied --as best --if-better",
        "relevo check cars.toml",
    ]
    for store, option in (("/my photos/it's", "'/my photos/it'\"'\"'s'"), ("s3://b/p", "s3://b/p")):
        assert {each.partition(" --store ")[2] for each in commands(store)} == {option}
    monkeypatch.setenv("RELEVO_STORE", "s3:/typo")
    assert commands(here)[2] == f"relevo check cars.toml --store {here}"
    evil = report(lambda name: f"{name} <!--run-->'")
    [predict, *_] = commands("s3://b/p", page.render(evil, {}))
    assert shlex.split(predict)[2] == "first/tied <!--run-->'"


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
        "Does this transfer save training time or improve accuracy, compared with training from scratch",
        "transfer: ▲ transfer helped Accuracy on the test images is .955, against .914 for 2 epochs from "
        "scratch: +4.1 points, 4.7 s faster. A head on a frozen random network reaches .865: +9.0 points "
        "for this stage. Including the stages that it builds on (baseline), training took 4 min 31 s.",
        "lost: ▼ transfer hurt Accuracy on the test images is .500, against .920 for 2 epochs from "
        "scratch: −42.0 points, 4 min 55 s faster. A head on a frozen random network does better (.600): "
        "the transferred layers hurt. Including the stages that it builds on (baseline, transfer)",
        "tied: = no significant difference from training from scratch",
        "+0.5 points in the same time. The difference is not significant, given all comparisons in this "
        "report; its own 95 % interval is −0.6 to +1.6 points.",
        "A head on a frozen random network reaches .920, which is not significantly different.",
        "car stands for automobile",
        "Accuracy, averaged over shifted and mirrored copies",
        "Accuracy, averaged over shifted copies",
        "↓ all layers of baseline except its head, frozen transfer .955 car / truck / other "
        "trains only a new head · 5.2 s for comparison: from scratch .914, head on a frozen random "
        "network .865",
        "✓ equal",
        "✗ different: the layers were not frozen",
        "share of new random weights in each trained kernel: .50",
        "23 images are in both train and test. A model may have memorized them. The first "
        "20: train/1.png = test/2.png",
        "2 files could not be read as images and were skipped: train/broken.png train/empty.png",
        "One image has the same pixels as another one with a different label. A model can't be right about"
        " both. train/a/1.png = train/b/1.png",
        "files that are no images: .tga (3), such as train/a/1.tga",
        "all 45,000 5,000 10,000",
        "Accuracy .980 on 5,000 test images; always predicting the most frequent class would reach .500.",
        "The best epoch on the validation images was 1; the model has the weights of epoch 2.",
        "The model has the weights of epoch 1, the best on the validation images.",
        "Overfitting from epoch 3: training accuracy still rises (.820 to .850)",
        "Area under the precision-recall curve .954",
        "True class Predicted as Images car other 57",
        "relevo run cifar10 --seed 7",
        DIGEST,
    ],
)
def test_the_page_says(sentence: str) -> None:
    assert sentence in TEXT


def test_an_answer_needs_no_control_and_a_run_no_transfer() -> None:
    baseline, transfer = DATA.stages["baseline"], DATA.stages["transfer"]
    alone = {"baseline": baseline, "transfer": replace(transfer, controls={})}
    none: dict[str, Any] = dict.fromkeys(("duplicates", "contradictions", "unreadable"), Listed())
    clean = DATA.data.model_copy(update={**none, "left_out": ()})
    data = replace(DATA, stages=alone, comparisons=comparisons(alone), data=clean)
    text = plain(page.render(data, {}))
    assert "transfer: ? unknown, since nothing was trained from scratch" in text
    assert "No image is in both train and test." in text
    assert "All files could be read." in text
    assert "two labels" not in text
    assert "Left out" not in text
    data = replace(data, stages={"baseline": baseline}, comparisons={})
    assert "No stage of this run starts from another" in plain(page.render(data, {}))


def test_stages_stand_under_the_one_they_start_from() -> None:
    [baseline, ten] = page.stage_tree(DATA.stages)
    assert [node.name for node in baseline.children] == ["transfer", "tied"]
    assert [node.name for node in baseline.children[0].children] == ["lost"]
    assert (ten.name, ten.children) == ("ten_class", [])
    orphan = page.stage_tree({"transfer": DATA.stages["transfer"]})
    assert [node.name for node in orphan] == ["transfer"]


def test_hostile_names_are_shown_and_do_nothing() -> None:
    evil = '"><script>alert(1)</script>{{ 7*7 }}%s%('
    data = report(lambda name: f"{evil}{name}")
    html = page.render(data, drawn(data))
    assert "<script" not in html
    assert f"{evil}truck" in unescape(html)
    assert "{{ 7*7 }}" in unescape(html)
    Reader(html)


def test_a_translation_reaches_every_word(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    marked = [f"{toml(m)} = {toml(f'«{m}»')}\n" for m in messages()]
    (tmp_path / "xx.toml").write_text("".join(marked), "utf-8")
    monkeypatch.setattr(page, "TRANSLATIONS", tmp_path)
    monkeypatch.setitem(numbers.DECIMAL_MARKS, "xx", ",")
    data = report(lambda name: f"#{sum(map(ord, name)) * 7919}#")
    figures = {name: png for name, png in drawn(data).items() if name != "something/else"}
    html = page.render(data, figures, page.load_words("xx"))
    assert '<html lang="xx">' in html
    # The words of a command stay.
    html = re.sub('command"([^>]*)>.*?</pre>', r'command"\1></pre>', html, flags=re.S)
    said = " ".join(Reader(html).said)
    # One message may stand inside another: take the innermost away until none is left.
    while (rest := re.sub(r"«[^«»]*»", "", said)) != said:
        said = rest
    names_and_units = {"relevo", "s", "min", "h", Network().kind}
    assert set(re.findall(r"[0-9a-f]{64}|[a-zA-Z]+", said)) - names_and_units - {DIGEST} == set()


def test_a_language_that_is_not_there_is_refused_in_one_line() -> None:
    with pytest.raises(BadInput, match=r"no report in language 'tlh'; expected one of: en, es$"):
        page.load_words("tlh")


def test_the_same_input_gives_the_same_page() -> None:
    assert page.render(DATA, drawn(DATA)) == HTML


def test_one_epoch_is_not_many_in_the_words_for_a_curve() -> None:
    stages = {name: change(each, history=history(0.4)) for name, each in DATA.stages.items()}
    one = replace(DATA, stages=stages, comparisons=comparisons(stages))
    assert "over 1 epoch: training" in page.render(one, drawn(one))
    assert "en 1 época: el" in page.render(one, drawn(one), page.load_words("es"))
    assert "over 2 epochs: training" in page.render(DATA, drawn(DATA))


OWN = "The test images are the data's own."
MADE = (
    "The data has no test images: about 20 % of each class were set aside for test"
    " by the content of each image"
)


@pytest.mark.parametrize(
    ("made", "validation", "expected"),
    [
        (None, "", f"{OWN} The validation images were held out of train."),
        (None, "valid", f"{OWN} The validation images are those in valid; none were held out"),
        (
            MadeSplits(test=0.2, validation=None),
            "val",
            f"{MADE}, so that it stays there as others are",
        ),
        (
            MadeSplits(test=0.2, validation=0.1, groups=7, alike=2),
            "",
            "added. 10 % of the others were held out for validation in the same way. The members of each of"
            " 7 groups are in one split. 2 images have near duplicates; each is in",
        ),
    ],
)
def test_the_page_says_how_the_data_came_to_be_divided(
    made: MadeSplits | None, validation: str, expected: str
) -> None:
    about = DATA.data.model_copy(update={"made": made, "validation": validation})
    data = replace(DATA, data=about)
    for words in (ENGLISH, page.load_words("es")):
        text = plain(page.render(data, {}, words)).replace(numbers.NO_BREAK_SPACE, " ")
        assert (expected in " ".join(text.split())) == (words is ENGLISH)
