"""Names in Markdown: they come from folders and recipes, and must not become links, pictures or HTML."""

from __future__ import annotations

import re


def plain(text: str) -> str:
    r"""Escape a name for a paragraph, list or table.

    >>> plain("![x](http://host/x.png) <b>")
    '!\\[x\\](http://host/x.png) \\<b\\>'
    """
    return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", " ".join(text.split()))


def code(text: str) -> str:
    """Make a name fit for a code span, in a table too."""
    return " ".join(text.split()).replace("`", "'").replace("|", "/")


def cell(text: str) -> str:
    """Escape a name for a cell of a table artifact, where a plain name stays as it is."""
    return plain(text) if re.search(r"[\[\]<>`&]", text) else text
