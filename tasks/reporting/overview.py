"""What a page shows of a check of a data set: for each kind of finding some pictures, with thumbnails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from PIL import Image

from tasks.reporting.thumbnails import Thumbnail, thumbnail
from tasks.vision.check.checked import KINDS, Checked
from tasks.vision.check.findings import Finding, Kind
from tasks.vision.data.images import Images

SIDE = 144  # pixels of a thumbnail, if the image has as many
BATCH = 64
MOST_IN_GROUP = 12  # duplicates of each other that are shown


@dataclass(frozen=True, eq=False)
class Shown:
    """A finding, and its picture; None if it can't be read."""

    finding: Finding
    picture: Thumbnail | None


@dataclass(frozen=True, eq=False)
class Part:
    """What is shown of one kind of finding.

    Attributes:
        count: of pictures. groups: duplicates of each other; else one group with all that is shown.
        all_groups: how many groups there are. shown: pictures.
    """

    kind: Kind
    count: int
    groups: list[list[Shown]]
    all_groups: int

    @property
    def shown(self) -> int:
        return sum(map(len, self.groups))

    @property
    def anchor(self) -> str:
        """Its place on the page."""
        return self.kind.replace(" ", "-")


@dataclass(frozen=True, eq=False)
class Overview:
    """Findings and the parts of a page that show them.

    Attributes:
        judge: name of the stage by which labels were judged, or "".
    """

    checked: Checked
    parts: list[Part]
    judge: str = ""


def overview(checked: Checked, judge: str, most: int, kinds: Sequence[Kind] = KINDS) -> Overview:
    """Choose what is shown: of each of these kinds of finding the `most` important pictures."""
    chosen = {kind: list(_chosen(checked.of_kind(kind), most)) for kind in kinds}
    shown = [each for groups in chosen.values() for group in groups for each in group]
    rows = sorted({each.row for each in shown if each.row is not None})
    pictures = dict(zip(rows, thumbnails(checked.whole.images, rows), strict=True))
    parts = [
        Part(
            kind,
            checked.counts[kind],
            [[Shown(f, None if f.row is None else pictures[f.row]) for f in g] for g in groups],
            len({each.group for each in checked.of_kind(kind)}),
        )
        for kind, groups in chosen.items()
        if checked.counts[kind]
    ]
    return Overview(checked, parts, judge)


def _chosen(findings: list[Finding], most: int) -> Iterator[list[Finding]]:
    """Yield groups of findings, at least one, whole ones as far as they aren't too large."""
    left = most
    for number, group in groupby(findings, key=lambda each: each.group):
        some = [*group][: MOST_IN_GROUP if number else most]
        if len(some) > left < most:
            return
        left -= len(some)
        yield some


def thumbnails(images: Images, rows: list[int]) -> Iterator[Thumbnail]:
    """Yield the images in some rows as small pictures."""
    for start in range(0, len(rows), BATCH):
        for image in np.asarray(images[np.array(rows[start : start + BATCH], np.int64)]):
            yield thumbnail(Image.fromarray(image), SIDE)
