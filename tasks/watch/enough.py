"""By how much data has to change before a run is worth it: a number of files, or a share of them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from tasks.vision.errors import BadInput
from tasks.vision.text import percent


@dataclass(frozen=True)
class Enough:
    """At least so many files have changed, or this share of those that there were."""

    files: int = 1
    share: float = 0.0

    @classmethod
    def parse(cls, given: str) -> Enough:
        """Parse '50', '1%' or '0.5 %'; raise BadInput for anything else."""
        found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)(\s*%)?", given.strip(), re.ASCII)
        value = float(found[1]) if found else 0.0
        if found and found[2] and 0 < value <= 100:
            return cls(share=value / 100)
        if found and not found[2] and value >= 1 and value.is_integer():
            return cls(files=int(value))
        raise BadInput(f"at least {given!r}: expected a number of files or a share, e.g. 50 or 1%")

    def of(self, files: int) -> int:
        """Return how many have to change where there were so many files before; 1 at least."""
        return max(self.files, math.ceil(round(self.share * files, 6)))

    def __str__(self) -> str:
        return percent(self.share) if self.share else f"{self.files:,}"
