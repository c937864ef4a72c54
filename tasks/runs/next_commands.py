"""Fill in a report's commands: reports of equal content are one blob, without the name of a run or store."""

from __future__ import annotations

import shlex
from html import escape

from tasks.io.locations import store_address
from tasks.store.base import StoreError

# What a user has named is escaped on the page, so that none of it can be read as one of these.
RUN, STORE = "<!--run-->", "<!--store-->"


def fill_in(page: bytes, run: str, store: str) -> bytes:
    """Write a run's name, and the option --store where a command needs it, into the commands of its report."""
    option = "" if _is_default(store) else f" --store {shlex.quote(store)}"
    page = page.replace(RUN.encode(), escape(run).encode())
    return page.replace(STORE.encode(), escape(option).encode())


def _is_default(store: str) -> bool:
    """True for a folder that commands find here without the option; a bucket's readers are elsewhere, too."""
    try:
        return "://" not in store and store == store_address(None)
    except StoreError:  # a malformed RELEVO_STORE
        return False
