"""Every word of the report has its Spanish: a new sentence without a translation fails here."""

from __future__ import annotations

import ast
import re
import typing
from collections import Counter
from html import unescape

import numpy as np
import pytest
from support.pages import DATA, Reader, calls_of_words, drawn, messages, plain

from flows.parameters import Language, RecipeChoice
from flows.recipes.load import load_recipe
from tasks.cache.code import code_digests
from tasks.cache.keys import reporting
from tasks.reporting import html as page
from tasks.vision.figures import curves, predictions, style
from tasks.vision.figures.numbers import DECIMAL_MARKS

SPANISH = page.load_words("es")
LANGUAGES = set(typing.get_args(Language))
BUILT_IN = {load_recipe(name, {}).description for name in typing.get_args(RecipeChoice)}


def marks(text: str) -> Counter[str]:
    """What a translation must keep: places for values, percent signs, tags and their classes."""
    return Counter(re.findall(r"%\(\w+\)s|%%|</?\w+[^>]*>|[▲▼✓✗]", text))


def test_every_message_of_the_page_is_translated_and_no_other() -> None:
    assert set(SPANISH.catalogue) == messages() | BUILT_IN


def test_every_word_in_a_figure_is_translated() -> None:
    calls = list(calls_of_words())
    assert len(calls) > 30
    literals = [node.value for node in calls if isinstance(node, ast.Constant)]
    assert len(literals) == len(calls), "a message that is put together has no translation"
    assert set(literals) <= set(SPANISH.catalogue)


@pytest.mark.parametrize("english", sorted(SPANISH.catalogue))
def test_a_translation_keeps_what_the_message_holds(english: str) -> None:
    spanish = SPANISH.catalogue[english]
    assert marks(spanish) == marks(english)
    assert spanish.strip() == spanish
    assert spanish
    assert english[-1] not in ".:?" or spanish[-1] == english[-1]


def test_every_place_has_the_same_languages() -> None:
    files = {path.stem for path in page.TRANSLATIONS.iterdir()}
    assert LANGUAGES == {"en"} | files == set(DECIMAL_MARKS)


def test_the_spanish_page_has_no_english_word_and_no_decimal_point() -> None:
    english, html = page.render(DATA, drawn(DATA)), page.render(DATA, drawn(DATA), SPANISH)
    said = " ".join(Reader(html).said)
    for word in ("the", "of", "and", "with", "stage", "trains", "images", "accuracy"):
        assert not re.search(rf"\b{word}\b", said), word
        assert re.search(rf"\b{word}\b", " ".join(Reader(english).said)), word
    assert not re.search(r"(?<![\d.])\.\d{3}\b", said)
    text = plain(html)
    assert "transfer: ▲ la transferencia ayudó" in text
    assert "es 0,955, frente a 0,914 con 2 épocas desde cero: +4,1 puntos, en 4,7 s menos" in text
    assert "todas 45 000 5000 10 000" in text
    assert "12 346 imágenes por segundo" in text
    assert "Intervalo del 95 % de la exactitud 0,970–0,990" in text


def test_numbers_stay_with_their_units() -> None:
    html = unescape(page.render(DATA, {}, SPANISH))
    assert re.findall(r"\d (?:s|min|h|%)\b", re.sub(r"<pre.*?</pre>", "", html, flags=re.S)) == []
    assert "4\xa0min 25\xa0s" in html


def test_figures_speak_spanish() -> None:
    history = [
        {
            "epoch": i,
            "loss": 1 / i,
            "accuracy": 0.5 + i / 10,
            "validation_loss": 1 / i,
            "validation_accuracy": 0.5 + i / 10,
        }
        for i in (1, 2, 3)
    ]
    figure = curves.accuracy_curves(history, "", 3, SPANISH)
    style.png(figure)
    [axes] = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("época", "exactitud")
    assert axes.texts[0].get_text() == "mejor época, la 3: 0,800"
    ticks = [tick.get_text() for tick in axes.get_yticklabels()]
    assert all(re.fullmatch(r"0,\d+", tick) for tick in ticks), ticks
    matrix = predictions.confusion_matrix([[12000, 120], [1, 30]], ["a", "b"], "", SPANISH).axes[0]
    assert [text.get_text().replace("\xa0", " ") for text in matrix.texts] == [
        *("12\u202f000", "99 %", "120", "1,0 %", "1", "3,2 %", "30", "97 %")
    ]
    picture = np.zeros((1, 8, 8, 3), np.uint8)
    grid = predictions.prediction_grid(picture, np.array([[0.999, 0.001]]), ["a", "b"], "", SPANISH)
    assert "a >0,99" in [text.get_text() for text in grid.axes[0].texts]


def test_language_and_wording_decide_the_report_and_nothing_else_does() -> None:
    english, spanish = (reporting({"lang": lang}) for lang in ("en", "es"))
    assert english.key != spanish.key
    assert set(english.ingredients["texts"]) == {
        *("base.html", "report.html", "findings.html", "incoming.html", "photos.html"),
        *("style.css", "es.toml"),
    }
    assert {"tasks.vision.figures.words", "tasks.vision.figures.numbers"} <= set(
        english.ingredients["code"]
    )
    assert (
        code_digests("tasks.vision.training.stage")
        .keys()
        .isdisjoint(
            {
                "tasks.vision.figures.words",
                "tasks.vision.figures.numbers",
                "tasks.vision.figures.overfitting",
            }
        )
    )
