"""The page of `relevo check`: what was found in a data set, one HTML file that needs no network."""

from __future__ import annotations

from tasks.reporting.html import environment
from tasks.reporting.overview import overview
from tasks.vision.check.checked import Checked
from tasks.vision.figures.words import ENGLISH, Words
from tasks.vision.text import printable

SHOWN = 200  # pictures of each kind of finding


def check_page(
    title: str,
    checked: Checked,
    judge: str,
    version: str,
    refused: str = "",
    words: Words = ENGLISH,
) -> bytes:
    """Render the page.

    Args:
        title: name of the source. judge: name of the stage by which labels were judged, or "".
        version: of relevo. refused: why a run would stop on this data, or "".
    """
    template = environment(words).get_template("check.html")
    return template.render(
        title=printable(title),
        overview=overview(checked, judge, SHOWN),
        version=version,
        refused=printable(refused),
        lang=words.lang,
    ).encode()
