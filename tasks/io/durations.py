"""Parse durations that users type, such as 30d."""

from __future__ import annotations

import re
from datetime import timedelta

from tasks.vision.errors import BadInput

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def duration_of(given: str, what: str) -> timedelta:
    """Parse '90s', '10m', '2h', '1d' or '1w'; raise BadInput for anything else.

    Args:
        what: is given, for the message.
    """
    found = re.fullmatch(r"(\d{1,5})\s*([smhdw])", given.strip(), re.ASCII)
    if not found:
        raise BadInput(f"{what} {given!r}: expected a number and s, m, h, d or w, e.g. 10m or 30d")
    return timedelta(**{UNITS[found[2]]: int(found[1])})
