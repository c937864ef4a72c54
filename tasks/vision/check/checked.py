"""All that a check of a data set has found, picture by picture, in the order of what it may do to a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

from tasks.vision.check.classes import few_images
from tasks.vision.check.findings import (
    FewImages,
    FileFindings,
    Finding,
    Group,
    ImageFindings,
    Kind,
    LabelFindings,
)
from tasks.vision.check.whole import Whole
from tasks.vision.data.dataset import Dataset, Description, Listed

KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, eq=False)
class Checked:
    """A data set and what was found in it.

    Attributes:
        files: None for data without files, such as digits, and where they were not looked at.
        labels: None before a training.
    """

    about: Description
    whole: Whole
    images: ImageFindings
    files: FileFindings | None = None
    labels: LabelFindings | None = None

    @classmethod
    def of(
        cls,
        data: Dataset,
        images: ImageFindings,
        labels: LabelFindings | None,
        files: FileFindings | None = None,
    ) -> Checked:
        """Join what was found with the data set that it was found in."""
        return cls(data.description, Whole.of(data), images, files, labels)

    @cached_property
    def few(self) -> list[FewImages]:
        """The classes with few training images."""
        return few_images(dict(zip(self.about.classes, self.about.counts["train"], strict=True)))

    @cached_property
    def findings(self) -> list[Finding]:
        """All findings about single pictures, by kind in the order of `KINDS`."""
        found = [
            *self._labels(),
            *self._duplicates(),
            *self._faults(),
            *self._flaws(),
            *self._sizes(),
        ]
        return sorted(found, key=lambda each: KINDS.index(each.kind))

    @cached_property
    def counts(self) -> dict[Kind, int]:
        """How many pictures there are of each kind of finding, 0 included."""
        found = {kind: sum(each.kind == kind for each in self.findings) for kind in KINDS}
        # Of these, a data set lists only the first.
        return {**found, "damaged": self.about.unreadable.count, "odd": self.about.odd.count}

    def of_kind(self, kind: Kind) -> list[Finding]:
        """The findings of a kind, the worst first."""
        return [each for each in self.findings if each.kind == kind]

    def _at(self, kind: Kind, row: int, **more: object) -> Finding:
        whole = self.whole
        known = {"file": whole.names[row], "split": str(whole.splits[row])}
        known["label"] = whole.classes[whole.labels[row]]
        return Finding.model_validate({"kind": kind, "row": row, **known, **more})

    def _labels(self) -> Iterator[Finding]:
        for each in self.labels.suspicious if self.labels else ():
            yield self._at(
                "suspicious label", each.row, label=each.given, note=each.likely, value=each.score
            )

    def _duplicates(self) -> Iterator[Finding]:
        ordered = sorted(self.images.duplicates, key=self._harm, reverse=True)
        for number, group in enumerate(ordered, start=1):
            kind: Kind = "duplicate" if group.same else "near duplicate"
            for row in group.rows:
                yield self._at(kind, row, group=number)

    def _harm(self, group: Group) -> tuple[bool, bool, bool, int]:
        """Two labels are worse than two splits, and train with test is worse than a copy in train."""
        rows = list(group.rows)
        labels, splits = len({*self.whole.labels[rows]}), len({*self.whole.splits[rows]})
        return group.same, labels > 1, splits > 1, -rows[0]

    def _faults(self) -> Iterator[Finding]:
        faults: tuple[tuple[Kind, Listed[str]], ...]
        faults = ("damaged", self.about.unreadable), ("odd", self.about.odd)
        for kind, listed in faults:
            for line in listed.first:
                file, _, reason = line.partition(": ")
                yield Finding(kind=kind, file=file, note=reason)

    def _flaws(self) -> Iterator[Finding]:
        for each in self.images.flawed:
            for row, value in zip(each.rows, each.values, strict=True):
                yield self._at(each.kind, row, value=round(value, 4))

    def _sizes(self) -> Iterator[Finding]:
        if not self.files:
            return
        rows = {name: row for row, name in enumerate(self.whole.names)}
        kinds: tuple[Kind, Kind] = "small", "long"
        for kind, files in zip(kinds, (self.files.small, self.files.long), strict=True):
            for file in files:
                if file.name in rows:  # else it is damaged
                    note = f"{file.width} x {file.height}"
                    yield self._at(kind, rows[file.name], note=note)
