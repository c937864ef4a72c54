"""What every layout of a data set comes to: which picture, which class, which split, which group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

from tasks.vision.data.layouts.split_names import SplitName
from tasks.vision.files.left_out import LeftOut
from tasks.vision.text import printable


class LabelledFile(NamedTuple):
    """One picture: its path below the root, its class, its split if it has one, and its group.

    Attributes:
        group: pictures of one group, such as those of one patient, are never in two splits; "" for none.
    """

    path: str
    label: str
    split: SplitName | None = None
    group: str = ""


@dataclass(frozen=True)
class Place:
    """Where the pictures of a data set are, before any class folder is listed.

    Attributes:
        root: the folder of the container that paths begin in: "" for the top, else "name/".
        folders: the folder of each split below the root; none for one folder per class and for a table.
        table: the name of the table in the root, or "".
    """

    root: str = ""
    folders: Mapping[SplitName, str] = field(default_factory=dict)
    table: str = ""

    @property
    def kind(self) -> Literal["split folders", "class folders", "table"]:
        """The layout's kind."""
        return "table" if self.table else "split folders" if self.folders else "class folders"


@dataclass(frozen=True)
class Layout:
    """The pictures of a data set, and what it leaves out.

    Attributes:
        files: in the order in which they are stored: those of test last, each by class, and in each
            class those of validation last, by path.
        junk: what systems and programs have left behind, which nobody takes for pictures.
        instead: the folder that was found in place of a split, "." for the top.
    """

    place: Place
    files: list[LabelledFile]
    left_out: list[LeftOut] = field(default_factory=list)
    junk: list[LeftOut] = field(default_factory=list)
    instead: str = ""

    @cached_property
    def classes(self) -> list[str]:
        """Names of the classes, sorted; their positions are the labels' numbers."""
        return sorted({file.label for file in self.files})

    @cached_property
    def splits(self) -> frozenset[SplitName]:
        """The splits that the data itself has."""
        return frozenset(file.split for file in self.files if file.split)

    @property
    def has_groups(self) -> bool:
        """True if some pictures are of a group."""
        return any(file.group for file in self.files)

    @property
    def needs_division(self) -> bool:
        """True if pictures have to be divided by their content.

        Where only validation is missing, and no group is given, rows are drawn as they ever were: a data set
        in the store keeps its bits.
        """
        return "test" not in self.splits or (self.has_groups and "validation" not in self.splits)

    @property
    def validation(self) -> str:
        """Where the data's own validation images are, for messages; "" if it has none."""
        if "validation" not in self.splits:
            return ""
        return self.place.folders.get("validation", self.place.table)

    def described(self) -> str:
        """The layout in a few words.

        >>> Layout(Place(), [LabelledFile("cat/1.png", "cat")]).described()
        'one folder for each of 1 classes'
        """
        inside = f" in {printable(self.place.root)}" if self.place.root else ""
        if self.place.table:
            return (
                f"the table {printable(self.place.table)}{inside} with {len(self.classes)} classes"
            )
        if not self.place.folders:
            return f"one folder for each of {len(self.classes)} classes{inside}"
        named = [printable(folder) for folder in self.place.folders.values()]
        return f"{', '.join(f'{name}/' for name in named)}{inside} with {len(self.classes)} classes"


def stored_order(file: LabelledFile) -> tuple[bool, str, bool, str]:
    """The key by which the files of a layout are sorted."""
    return file.split == "test", file.label, file.split == "validation", file.path
