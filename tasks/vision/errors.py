"""The error for bad input by a user, and a hint at what was meant (all exceptions: `tasks`)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from tasks.vision.text import first_of


class BadInput(ValueError):
    """A user's input can't be used; the message is one line: given, expected, how to fix it.

    The command line prints it and exits with status 2; a task that raises it is never retried.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


def nearest(given: str, names: Iterable[str], most: int = 20, listing: str = "") -> str:
    """A hint for an unknown name: " is not there; did you mean 'X'?", or a list of the known names.

    Args:
        most: length of the list. listing: a command that lists all names.
    """
    known = list(names)
    close = difflib.get_close_matches(given, known, n=1, cutoff=0.5)
    if close:
        return f" is not there; did you mean {close[0]!r}?"
    more = f"; `{listing}` lists them" if listing and len(known) > most else ""
    return f" is not there; known: {first_of(known, most)}{more}"
