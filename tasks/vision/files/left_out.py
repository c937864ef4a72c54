"""What a data set leaves out: files that are no images, hidden ones, and folders beside the splits."""

from __future__ import annotations

import fnmatch
import re
from collections import Counter
from collections.abc import Callable
from typing import Literal

from tasks.vision.recipe.schema import Strict
from tasks.vision.text import printable

# Left behind by systems and programs; compared without regard to case.
_JUNK = (
    *("._*", ".DS_Store", "__MACOSX", ".AppleDouble", ".Spotlight-V100", ".Trash*", ".fseventsd"),
    *(
        "Thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        ".thumbnails",
        ".directory",
        "@eaDir",
        ".@__thumb",
    ),
    *("$RECYCLE.BIN", "System Volume Information", "lost+found", "Icon\r", ".localized"),
    *(".ipynb_checkpoints", ".amlignore*", ".git", ".git?*", ".svn", ".hg", ".cache", ".keep"),
    *(".nfs*", ".fuse_*"),
)
_PATTERN = re.compile("|".join(f"({fnmatch.translate(each)})" for each in _JUNK), re.IGNORECASE)


def is_junk(name: str) -> bool:
    """True for names that systems and programs leave behind."""
    return _PATTERN.match(name) is not None


def junk_kind(name: str) -> str:
    """What a junk file or folder is usually called; a pattern for names that differ."""
    match = _PATTERN.match(name)
    return _JUNK[match.lastindex - 1] if match and match.lastindex else name


Reason = Literal[
    "no_image", "beside", "validation", "unsorted", "unlisted", "hidden", "empty", "cut", "junk"
]
REASONS: dict[Reason, str] = {
    "no_image": "files that are no images",
    "beside": "images beside train and test",
    "validation": "validation images of other classes than those of train (some of train are held out instead)",
    "unsorted": "images that are in no class's folder",
    "unlisted": "images that the table does not name",
    "hidden": "images hidden by a dot at the beginning of a name (rename it)",
    "empty": "folders without a file",
    "cut": "what may have followed, since the archive has no end mark",
    "junk": "files and folders that a system or program has left behind",
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
        such = f", such as {self.example}" if self.example != self.kind else ""
        return f"{REASONS[self.reason]}: {self.kind} ({self.count:,}){such}"


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
        """List the kinds, the most frequent first, without junk."""
        return self._listed(lambda reason: reason != "junk", most)

    def junk(self, most: int = 50) -> list[LeftOut]:
        """List the kinds of junk, the most frequent first."""
        return self._listed(lambda reason: reason == "junk", most)

    def _listed(self, wanted: Callable[[Reason], bool], most: int) -> list[LeftOut]:
        counts = ((key, count) for key, count in self._counts.items() if wanted(key[0]))
        ordered = sorted(counts, key=lambda item: (-item[1], item[0]))
        return [
            LeftOut(
                reason=reason,
                kind=printable(kind),
                count=count,
                example=self._examples[reason, kind],
            )
            for (reason, kind), count in ordered[:most]
        ]
