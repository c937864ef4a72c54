"""The page of a sweep: its figures and its table, in each language, without a remote address."""

from __future__ import annotations

import re

import numpy as np
import pytest
from support.pages import Reader
from support.sweeps import made_search, made_sweep

from tasks.reporting.html import load_words
from tasks.reporting.sweep_page import sweep_page
from tasks.runs.sweeps.record import SweepSummary
from tasks.sweeps.words import noise_sentence
from tasks.vision.figures.sweeps import Span, TriedSettings, effect_of_setting


@pytest.mark.parametrize("lang", ["en", "es"])
def test_page_has_its_figures_and_needs_no_network(lang: str) -> None:
    sweep = made_sweep(failed=True)
    html = sweep_page(sweep, load_words(lang))
    page = Reader(html)
    images = page.of("img")
    # Three settings, parallel coordinates and learning curves.
    assert len(images) == 5
    assert all(str(each["src"]).startswith("data:image/png;base64,") for each in images)
    assert all(each["alt"] for each in images)
    assert not re.search(r"https?://|//[a-z]+\.", re.sub(r"base64,[^\"]+", "", html))
    said = " ".join(page.said)
    for part in ("lr_scale", "adam", "the loss is not finite", sweep.chosen.run, sweep.command):
        assert part in said
    rows = re.findall(r"<tr.*?</tr>", html, re.S)
    assert len(rows) == 1 + len(sweep.combinations)
    assert 'class="own"' in rows[1]


@pytest.mark.parametrize("sweep", [made_sweep(failed=True), made_search()])
def test_spanish_page_has_no_english_word(sweep: SweepSummary) -> None:
    said = " ".join(Reader(sweep_page(sweep, load_words("es"))).said)
    for word in ("the", "of", "and", "best", "noise", "images", "accuracy", "early"):
        without = re.sub("the loss is not finite|after epoch 3 of 8", "", said)
        assert not re.search(rf"\b{word}\b", without), word


def test_one_setting_without_epochs_has_one_figure() -> None:
    sweep = made_sweep({"data.fit": ("crop", "pad")})
    flat = [
        each.model_copy(
            update={"runs": tuple(run.model_copy(update={"curve": (0.9,)}) for run in each.runs)}
        )
        for each in sweep.combinations
    ]
    page = sweep_page(sweep.model_copy(update={"combinations": tuple(flat)}))
    assert len(Reader(page).of("img")) == 1


def test_seeds_alone_are_a_sweep_too() -> None:
    sweep = made_sweep({}, seeds=3)
    assert "the only settings" in sweep_page(sweep)
    assert noise_sentence(sweep) == "no other settings to compare with"


def test_what_is_noise_is_said() -> None:
    sweep = made_sweep()
    assert noise_sentence(sweep).startswith("3 of 15 others can't be distinguished from the best")
    first = sweep.combinations[:3]
    assert "no difference is more than noise" in noise_sentence(
        sweep.model_copy(update={"combinations": first})
    )


def test_page_of_a_search_says_what_was_stopped_and_shows_ranges_by_size() -> None:
    sweep = made_search()
    page = Reader(sweep_page(sweep))
    assert len(page.of("img")) == 5
    said = " ".join(page.said)
    for part in ("combinations were stopped early", "after epoch 3 of 8", "Optuna"):
        assert part in said
    assert "failed" not in said
    span = Span(0.01, 10, log=True)
    tried = [TriedSettings((value,), 0.9, (0.9,), ((0.9,),)) for value in ("0.02", "5")]
    axes = effect_of_setting("lr_scale", ["0.02", "5"], tried, 0, span=span).axes[0]
    assert axes.get_xscale() == "log"
    assert axes.get_xlim() == pytest.approx((0.01 / 1.4, 14))
    assert not [line for line in axes.lines if line.get_linestyle() == "--"]
    assert span.place("0.1") == pytest.approx(1 / 3)


def test_numbers_stand_where_they_belong_on_the_axis() -> None:
    tried = [
        TriedSettings((value,), 0.9 + i / 100, (0.9 + i / 100,), ((0.9,),))
        for i, value in enumerate(["0.1", "10", "1"])
    ]
    axes = effect_of_setting("lr_scale", ["0.1", "10", "1"], tried, 0).axes[0]
    assert axes.get_xscale() == "log"
    (means,) = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert np.asarray(means.get_xdata()).tolist() == [0.1, 1, 10]
    assert np.asarray(means.get_ydata()) == pytest.approx([0.9, 0.92, 0.91])
