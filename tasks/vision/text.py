"""Names and lines with names in them: whether they are UTF-8, and how a terminal can show them."""

from __future__ import annotations

import unicodedata

from tasks.vision.errors import BadInput


def printable(name: object) -> str:
    r"""A name, or a line with names in it, as a terminal can show it: escaped only where it has to be.

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


def is_utf8(name: str) -> bool:
    """Whether a name's bytes are UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_utf8(given: str, name: str) -> None:
    """`BadInput` for a name whose bytes aren't UTF-8; `given` is where it was found."""
    if not is_utf8(name):
        raise not_utf8(given, name)


def not_utf8(given: str, name: str | bytes) -> BadInput:
    """The refusal of such a name."""
    told = printable(name if isinstance(name, str) else name.decode("utf-8", "surrogateescape"))
    return BadInput(f"{given} holds the name '{told}'; expected names in UTF-8: rename it")
