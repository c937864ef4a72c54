"""How often to ask Prefect's server: often while something happens, seldom through long trainings."""

from __future__ import annotations

import time

OFTEN, SELDOM = 0.5, 2.0  # seconds
SHARE = 1 / 30  # of the time since the last change: what is noticed late costs no more than that


def pause(last_change: float, shortest: float = OFTEN) -> float:
    """Return the seconds to wait before the next request.

    Args:
        last_change: when something last happened, by `time.monotonic`.
    """
    return min(SELDOM, max(shortest, (time.monotonic() - last_change) * SHARE))
