"""Reading TOML of bounded size and depth: Python's parser takes memory without bound for dotted keys."""

from __future__ import annotations

import re
import tomllib
from typing import Any

MAX_BYTES = 1 << 20  # a recipe that lists 10,000 classes has 200 kB
MAX_DEPTH = 16  # of nested tables and arrays; a recipe has 4
# Strings, in which brackets and dots mean nothing; one without an end reaches to where TOML refuses it.
_TOKENS = re.compile(
    r'"""(?:\\.|[^\\])*?(?:"{3,5}|\\?\Z)'
    r"|'{3}.*?(?:'{3,5}|\Z)"
    r'|"(?:\\.|[^"\\\n])*\\?"?'
    r"|'[^'\n]*'?"
    r"|#[^\n]*"
    r"|[\[\]{}.=,\n]",
    re.S,
)


def read_toml(text: str) -> Any:
    """Parse a TOML document into a table.

    Raises:
        ValueError: it is not TOML, or larger or deeper than a recipe may be; in one line.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"{len(text):,} characters; expected at most {MAX_BYTES:,}")
    depth = dots = 0
    for found in _TOKENS.finditer(text):
        mark = found[0]
        if mark == ".":
            dots += 1
        elif mark in "[{":
            depth += 1
        elif mark in "]}":
            depth -= 1
        if mark in "[]{}=,\n":
            dots = 0
        if max(depth, dots) > MAX_DEPTH:
            raise ValueError(f"nested deeper than the {MAX_DEPTH} levels that a recipe may have")
    return tomllib.loads(text)
