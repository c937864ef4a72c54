"""Ranges of numbers that a search picks from: LOW..HIGH."""

from __future__ import annotations

import math
import re

from tasks.vision.errors import BadInput
from tasks.vision.recipe.schema import Strict

LOG_RATIO = (
    10  # a range of positive numbers whose ends differ by this factor is searched by magnitude
)
DIGITS = 4  # significant ones of a number that is picked, so that people can read and repeat it

_NUMBER = r"[+-]?(?:\d[\d_]*(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"\s*((?:{_NUMBER})?)\s*\.\.\s*((?:{_NUMBER})?)\s*")


class Range(Strict):
    """All numbers from `low` to `high`, both included.

    Attributes:
        whole: only whole numbers, since both ends are written so.
    """

    low: float
    high: float
    whole: bool

    @property
    def log(self) -> bool:
        """True if numbers are picked by their magnitude, as a factor is: .1 to 1 as often as 1 to 10."""
        return self.low > 0 and self.high / self.low >= LOG_RATIO

    def number(self, value: float) -> int | float:
        """Return a number of the range as it is tried.

        >>> Range(low=0.1, high=10, whole=False).number(0.123456)
        0.1235
        """
        if self.whole:
            return round(value)
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)

    def ends(self) -> tuple[int | float, int | float]:
        """Return both ends as they are tried."""
        return self.number(self.low), self.number(self.high)

    @property
    def count(self) -> int | None:
        """Number of values; None if that is no limit."""
        return round(self.high - self.low) + 1 if self.whole else None


def range_in(path: str, values: str) -> Range | None:
    """Return the range that `--over PATH=VALUES` gives; None for a list.

    Raises:
        BadInput: it has one end, or is empty, or stands in a list.

    >>> range_in("stages.a.epochs", "1..8")
    Range(low=1.0, high=8.0, whole=True)
    >>> range_in("stages.a.lr_scale", "0.5, 1, 2")
    """
    given = f"--over {path}={values[:100]}"
    found = _RANGE.fullmatch(values)
    if found is None:
        if any(_RANGE.fullmatch(part) for part in values.split(",")):
            raise BadInput(
                f"{given}: expected one range LOW..HIGH, or values with commas between them"
            )
        return None
    if not all(found.groups()):
        raise BadInput(f"{given}: expected two numbers, LOW..HIGH, e.g. 0.1..10")
    low, high = map(float, found.groups())
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise BadInput(f"{given}: expected the lower number first, LOW..HIGH")
    whole = all(re.fullmatch(r"[+-]?[\d_]+", end) for end in found.groups())
    return Range(low=low, high=high, whole=whole)
