"""Prefect's UI in headless Chromium."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")


@contextmanager
def prefect_page() -> Iterator[Page]:
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=CHROMIUM,
            timeout=180_000,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(60_000)
        yield page
        browser.close()


def photographs(page: Page, folder: Path, prefix: str) -> Callable[[str], None]:
    """Return a function that saves a screenshot of the page, in $RELEVO_SCREENSHOTS if that is set."""
    folder = Path(os.environ.get("RELEVO_SCREENSHOTS") or folder)

    def save(name: str) -> None:
        page.wait_for_timeout(1000)  # until animations have ended
        page.screenshot(path=folder / f"{prefix}-{name}.png", full_page=True)

    return save
