"""What a data set leaves out: files that are no images, hidden ones, and folders beside the splits."""

from __future__ import annotations

import fnmatch
from collections import Counter
from typing import Literal

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


Reason = Literal["no_image", "beside", "validation", "hidden", "cut"]
REASONS: dict[Reason, str] = {
    "no_image": "files that are no images",
    "beside": "images beside train and test",
    "validation": "validation images of other classes than those of train (some of train are held out instead)",
    "hidden": "images hidden by a dot at the beginning of a name (rename it)",
    "cut": "what may have followed, since the archive has no end mark",
}


class LeftOut(Strict):
    """Files that are left out for one reason.

    Attributes:
        kind: their ending ("*" for none), or the folder that they are in. example: the first of them.
    """

    reason: Reason
    kind: str
    count: int
    example: str

    def __str__(self) -> str:
        return f"{REASONS[self.reason]}: {self.kind} ({self.count:,}), such as {self.example}"


class Tally:
    """Counts what is left out, by kind and reason."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[Reason, str]] = Counter()
        self._examples: dict[tuple[Reason, str], str] = {}

    def add(self, reason: Reason, kind: str, example: str, count: int = 1) -> None:
        """Count files of a kind; the first example stays."""
        self._counts[reason, kind] += count
        self._examples.setdefault((reason, kind), printable(example))

    def merge(self, other: Tally) -> None:
        """Add what another one has counted."""
        self._counts += other._counts
        self._examples = other._examples | self._examples

    def most_common(self, most: int = 50) -> list[LeftOut]:
        """List the kinds, the most frequent first."""
        ordered = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))
        return [
            LeftOut(
                reason=reason,
                kind=printable(kind),
                count=count,
                example=self._examples[reason, kind],
            )
            for (reason, kind), count in ordered[:most]
        ]
