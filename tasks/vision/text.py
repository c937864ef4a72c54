"""Names of files and classes: check that they are UTF-8, and escape them for a terminal."""

from __future__ import annotations

import unicodedata

from tasks.vision.errors import BadInput


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
    """True if the name's bytes are UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_utf8(given: str, name: str) -> None:
    """Raise `BadInput` if the name's bytes aren't UTF-8; `given` is where it was found."""
    if not is_utf8(name):
        raise not_utf8(given, name)


def not_utf8(given: str, name: str | bytes) -> BadInput:
    """The error for a name that isn't UTF-8."""
    shown = printable(name if isinstance(name, str) else name.decode("utf-8", "surrogateescape"))
    return BadInput(f"{given} holds the name '{shown}'; expected names in UTF-8: rename it")
