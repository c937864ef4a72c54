"""Names of files and classes: whether they are UTF-8, how a terminal shows them, and lists of them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable


def printable(name: object) -> str:
    r"""Escape what a terminal can't show in a name, or in a line with names.

    >>> printable("a\n\x1b[2J\udcff.png")
    'a\\n\\x1b[2J\\xff.png'
    """
    text = str(name)
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs":  # other kinds of space
        return character
    if "\udc80" <= character <= "\udcff":  # a byte that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def normalized(name: str) -> str:
    """One form (NFC) of a name that looks the same in several, as macOS and Linux write é."""
    return unicodedata.normalize("NFC", name)


def is_utf8(name: str) -> bool:
    """False if the name has bytes that are not UTF-8, which Python represents as lone surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def first_of(names: Iterable[object], most: int = 10, separator: str = ", ") -> str:
    r"""Join the first names, escaped, and say how many others there are.

    >>> first_of(["a", "b\n", "c"], 2)
    'a, b\\n, and 1 more'
    """
    every = list(names)
    others = [f"and {len(every) - most:,} more"] if len(every) > most else []
    return separator.join([*map(printable, every[:most]), *others])


def percent(share: float) -> str:
    """Write a share as a percentage.

    >>> percent(0.2), percent(0.125)
    ('20 %', '12.5 %')
    """
    return f"{100 * share:.3g} %"
