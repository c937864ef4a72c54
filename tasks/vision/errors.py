"""The one error that a user's own input can cause in this room, and a hint at what was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BadInput(ValueError):
    """Something a user gave can't be used; the message is one line: given, expected, how to mend.

    The command line prints it and exits with status 2; a task that raises it is never retried.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


def nearest(given: str, names: Iterable[str], most: int = 20, listing: str = "") -> str:
    """' is not there; did you mean X?' for the closest of `names`, or the list of them.

    Args:
        most: that many are listed. listing: the command that lists all of them, if there is one.
    """
    known = list(names)
    close = difflib.get_close_matches(given, known, n=1, cutoff=0.5)
    if close:
        return f" is not there; did you mean {close[0]!r}?"
    told = ", ".join(known[:most])
    if len(known) > most:
        told += f" and {len(known) - most:,} more" + (
            f"; `{listing}` lists them" if listing else ""
        )
    return f" is not there; known: {told}"
