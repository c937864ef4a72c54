"""The report in Chromium: accessible, light and dark, on phone and desktop, in each language."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.command import Chain
from support.findings import checked_set

from tasks.reporting.check_page import check_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
PHONE, DESK = 390, 1280  # pixels

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None, reason="needs chromium (Debian: apt-get install chromium)"
    ),
]

# Finds words in headings and tables that a narrow column breaks across two lines.
TORN = """() => {
  const torn = [];
  for (const place of document.querySelectorAll("h1, h2, h3, th, td, caption, .facts li")) {
    // On a phone a stacked table's head is there for screen readers alone.
    const head = place.closest("thead");
    if (head && getComputedStyle(head).position === "absolute") continue;
    const walker = document.createTreeWalker(place, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const node = walker.currentNode;
      if (node.parentElement.closest("code")) continue;
      for (const word of node.data.matchAll(/[^\\s_\\u2013-]+/g)) {
        const range = document.createRange();
        range.setStart(node, word.index);
        range.setEnd(node, word.index + word[0].length);
        const lines = new Set([...range.getClientRects()].map((box) => Math.round(box.top)));
        if (lines.size > 1) torn.push(word[0]);
      }
    }
  }
  return torn;
}"""


@pytest.fixture(scope="module")
def reports(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The small chain's report in each language, and the page of a check of a data set."""
    check = tmp_path_factory.mktemp("check") / "check.html"
    check.write_bytes(check_page("photos", checked_set(), "all_classes", "0.2"))
    return {
        "en": Path(chain.first.json["report"]),
        "es": Path(chain.spanish.json["report"]),
        "check": check,
    }


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET, timeout=180_000)
        yield chromium
        chromium.close()


@pytest.fixture(params=["en", "es", "check"])
def lang(request: pytest.FixtureRequest) -> str:
    """The reader's language, or the other page."""
    return str(request.param)


def opened(browser: Browser, report: Path, width: int, scheme: str = "light") -> Page:
    page = browser.new_page(
        viewport={"width": width, "height": 844},
        color_scheme=scheme,  # type: ignore[arg-type]
        reduced_motion="reduce",
    )
    page.goto(report.as_uri())
    return page


# Every two of page, colours and width meet; all twelve cost a minute more.
@pytest.mark.parametrize(
    ("lang", "scheme", "width"),
    [
        ("en", "light", DESK),
        ("en", "dark", PHONE),
        ("es", "light", PHONE),
        ("es", "dark", DESK),
        ("check", "light", PHONE),
        ("check", "dark", DESK),
    ],
)
def test_axe_finds_nothing_serious(
    browser: Browser, reports: dict[str, Path], lang: str, scheme: str, width: int
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = opened(browser, reports[lang], width, scheme)
    results = Axe().run(page)
    page.close()
    assert results.response["testEngine"]["name"] == "axe-core"
    found = [
        f"{fault['impact']} {fault['id']}: {node['target']} {node['failureSummary']}"
        for fault in results.response["violations"]
        for node in fault["nodes"]
        if fault["impact"] in ("serious", "critical")
    ]
    assert found == []


def test_the_page_fits_a_phone(browser: Browser, reports: dict[str, Path], lang: str) -> None:
    page = opened(browser, reports[lang], PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE
    sizes = page.eval_on_selector_all(
        "body *", "all => all.map((one) => parseFloat(getComputedStyle(one).fontSize))"
    )
    page.close()
    assert min(sizes) >= 12


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_no_word_of_a_heading_or_a_table_is_torn(
    browser: Browser, reports: dict[str, Path], lang: str, width: int
) -> None:
    page = opened(browser, reports[lang], width)
    torn = page.evaluate(TORN)
    page.close()
    assert torn == []


def test_a_page_is_dark_where_its_reader_wants_it_dark(
    browser: Browser, reports: dict[str, Path]
) -> None:
    grounds = []
    for scheme in ("light", "dark"):
        page = opened(browser, reports["en"], DESK, scheme)
        grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        page.emulate_media(media="print")
        assert page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 36, 48)"
        page.close()
    assert grounds == ["rgb(247, 245, 240)", "rgb(19, 23, 28)"]
