"""The page and table of a check of a data set, and its section in a run's report."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from html import unescape
from itertools import pairwise

import pytest
from support.findings import checked_set
from support.pages import DATA, Reader, drawn, plain

from tasks.reporting import html as report
from tasks.reporting.check_page import check_page
from tasks.reporting.findings_table import findings_csv
from tasks.reporting.overview import overview
from tasks.vision.check.checked import KINDS

CHECKED = checked_set()
PAGE = check_page("photos", CHECKED, "all_classes", "0.2").decode()


def test_counts_are_of_all_pictures_and_the_worst_duplicates_come_first() -> None:
    assert CHECKED.counts == dict.fromkeys(KINDS, 1) | {
        "damaged": 300,
        "duplicate": 4,
        "near duplicate": 2,
    }
    copies = [(each.group, each.row) for each in CHECKED.of_kind("duplicate")]
    assert copies == [(1, 4), (1, 11), (2, 3), (2, 6)], "two labels, then one"
    assert [each.label for each in CHECKED.few] == ["plum", "fig"]


@pytest.mark.parametrize(
    "sentence",
    [
        "12 pictures in 3 classes, at 8 × 8 pixels, as a network sees them. Nothing was removed",
        "12 labels were judged, each by a head that has not seen it, on the frozen network of the stage"
        " all_classes (five parts in turn). It doubts 1 of them, of which about 1 are wrong by confident"
        " learning (Northcutt et al. 2021). Classes with too few pictures to judge: plum.",
        "plum: 3 training pictures, where the largest class has 500",
        "The shorter sides have 3 to 100 pixels, half of them 8 or more. 1 of 12 files have less than the 8",
        "labelled cherry (probability .00), more likely plum validation train/9.png",
        "Different labels: fig, plum. In more than one split.",
        "train/torn.png: cut off",
        "200 of 300 are shown.",
        "400 x 100 train train/4.png",
    ],
)
def test_the_page_says(sentence: str) -> None:
    assert sentence in plain(PAGE)


def test_the_page_stands_alone_and_its_links_lead_somewhere() -> None:
    assert not re.search(r"https?:|@import|url\(|<script|<link", PAGE)
    reader = Reader(PAGE)
    targets = {attributes.get("id") for _, attributes in reader.tags}
    assert all(str(link["href"])[1:] in targets for link in reader.of("a"))
    levels = [int(tag[1]) for tag, _ in reader.tags if re.fullmatch("h[1-6]", tag)]
    assert all(b <= a + 1 for a, b in pairwise(levels))
    assert all("scope" in header for header in reader.of("th"))


def test_nothing_found_is_said() -> None:
    about = CHECKED.about.model_copy(
        update={"counts": {"train": [30, 30, 30]}, "unreadable": type(CHECKED.about.unreadable)()}
    )
    about = about.model_copy(update={"odd": about.unreadable})
    images = CHECKED.images.model_copy(update={"flawed": (), "duplicates": ()})
    clean = replace(CHECKED, about=about, images=images, files=None, labels=None)
    text = plain(check_page("photos", clean, "", "0.2").decode())
    assert "Nothing that stands out." in text
    assert "No class is very small or far smaller than the largest." in text
    assert "Labels are judged after a training" in text
    assert "Sizes and formats" not in text


def test_hostile_names_are_shown_and_do_nothing() -> None:
    evil = '"><script>alert(1)</script>{{ 7*7 }}%s%('
    checked = checked_set(lambda name: evil + name + ("\udcff" if "/" in name else ""))
    page = check_page(f"{evil}photos", checked, evil, "0.2", f"{evil}refused").decode()
    assert "<script" not in page
    assert f"{evil}train/9.png\\xff" in unescape(page)
    Reader(page)
    rows = list(csv.reader(io.StringIO(findings_csv(checked.findings).decode("utf-8", "replace"))))
    assert {len(row) for row in rows} == {7}


def test_a_report_shows_some_of_each_kind() -> None:
    shown = overview(CHECKED, "all_classes", 1)
    assert [part.shown for part in shown.parts if part.kind == "duplicate"] == [2]
    html = report.render(replace(DATA, overview=overview(CHECKED, "all_classes", 12)), drawn(DATA))
    text = plain(html)
    assert "Pictures to look at Nothing was removed or changed. relevo check shows more" in text
    assert "labelled cherry (probability .00), more likely plum" in text
    assert "12 of 300 are shown." in text
    levels = [int(tag[1]) for tag, _ in Reader(html).tags if re.fullmatch("h[1-6]", tag)]
    assert all(b <= a + 1 for a, b in pairwise(levels))
    assert "Pictures to look at" not in plain(report.render(DATA, {}))
