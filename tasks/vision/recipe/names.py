"""What a recipe's names may hold: they stand in file names, tables and figures."""

from __future__ import annotations

import unicodedata

LONGEST = 60  # characters, also in a stage's control and in files that are named after both
ALLOWED = f"1 to {LONGEST} characters, none of them a control character"


def is_good_name(name: str) -> bool:
    """Whether a label or a recipe may be called so: not blank, in bounds, nothing that breaks a line."""
    return bool(name.strip()) and len(name) <= LONGEST and name == visible(name)


def clipped(name: str) -> str:
    """A name of any length and kind, quoted, as it can stand in a message."""
    return repr(name if len(name) <= LONGEST else f"{name[:20]}…")


def good_name(text: str) -> str:
    """The good name nearest to a text; empty where nothing of it can be shown."""
    text = text if is_good_name(text) else " ".join(visible(text).split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1].rstrip()}…"


def visible(text: str) -> str:
    """A text with a space for each character that no line can show."""
    broken = ("Cc", "Cs", "Zl", "Zp")  # controls, halves of characters, ends of lines
    return "".join(" " if unicodedata.category(each) in broken else each for each in text)
