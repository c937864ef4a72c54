"""What a data set leaves out: files that are no images, hidden ones, and folders beside the splits."""

from __future__ import annotations

import fnmatch
from collections import Counter

from tasks.vision.recipe.schema import Strict
from tasks.vision.text import printable

# Left behind by systems and programs; nobody wants to hear of them.
_JUNK = (
    *("._*", ".DS_Store", "__MACOSX", ".AppleDouble", ".Spotlight-V100", ".Trash*", ".fseventsd"),
    *("Thumbs.db", "desktop.ini", ".thumbnails", ".directory", "@eaDir", ".@__thumb"),
    *(".ipynb_checkpoints", ".git", ".git?*", ".svn", ".hg", ".cache", ".keep", ".nfs*", ".fuse_*"),
)


def is_junk(name: str) -> bool:
    """True for names that systems and programs leave behind."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in _JUNK)


class LeftOut(Strict):
    """Files that are left out for one reason: what they are, how many, why, and the first of them."""

    kind: str
    count: int
    reason: str
    example: str

    def __str__(self) -> str:
        if not self.count:
            return f"{self.kind}: {self.reason}"
        return f"{self.kind} ({self.count:,}): {self.reason}, such as {self.example}"


class Tally:
    """Counts what is left out, by kind and reason."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._examples: dict[tuple[str, str], str] = {}

    def add(self, kind: str, reason: str, example: str, count: int = 1) -> None:
        """Count files of a kind; the first example stays."""
        self._counts[kind, reason] += count
        self._examples.setdefault((kind, reason), printable(example))

    def merge(self, other: Tally) -> None:
        """Add what another one has counted."""
        self._counts += other._counts
        self._examples = other._examples | self._examples

    def most_common(self, most: int = 50) -> list[LeftOut]:
        """List the kinds, the most frequent first."""
        ordered = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))
        return [
            LeftOut(
                kind=printable(kind),
                count=count,
                reason=reason,
                example=self._examples[kind, reason],
            )
            for (kind, reason), count in ordered[:most]
        ]
