"""What to say where classes or a split are missing: what was found instead, and what fits it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tasks.vision.data.layouts.layout import Place
from tasks.vision.data.layouts.split_names import LAYOUT, NAMES, SplitName, split_of
from tasks.vision.errors import BadInput
from tasks.vision.files.containers import Tree
from tasks.vision.files.image_files import looks_like_image
from tasks.vision.text import first_of, printable

EXPECTED = f"{LAYOUT}, <class>/<image>, or a table with the columns file and label"
_SHEETS = (".xlsx", ".xls", ".ods", ".json", ".txt", ".xml")
_RECORDS = (
    *(".parquet", ".arrow", ".tfrecord", ".npy", ".npz", ".mat", ".h5", ".hdf5", ".pkl", ".pt"),
)
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")


def missing_split(container: Tree, place: Place, splits: Sequence[SplitName]) -> BadInput:
    """The error for splits that a data set must have and has not."""
    root = place.root.rstrip("/")
    if place.table:
        return BadInput(
            f"{container.given} has no row of split {splits[0]} in {printable(place.table)}; expected some: add"
            " them, or leave out the column split"
        )
    folders, files = map(sorted, container.children(root))
    found = first_of([*(f"{name}/" for name in folders), *files]) or "nothing"
    missing = " and no folder ".join("valid" if each == "validation" else each for each in splits)
    fits = {
        "train": "give pictures to learn from, or --data for relevo evaluate alone",
        "validation": "score another split",
        "test": "--split train or valid scores those, or give one folder per class",
    }
    return BadInput(
        f"{container.given} has no folder {missing}; expected {LAYOUT}; found: {found}: {fits[splits[0]]}"
    )


def wrong_folders(container: Tree, root: str) -> BadInput | None:
    """The error where the folders in `root` ("" or "name/") can't be those of classes; None if they can."""
    folders, files = map(sorted, container.children(root.rstrip("/")))
    if not (mend := _mend(container, root, folders, files)):
        return None
    found = first_of([*(f"{name}/" for name in folders), *files]) or "nothing"
    where = f" in {printable(root)}" if root else ""
    return BadInput(
        f"{container.given} has no class folders; expected {EXPECTED}; found{where}: {found}: {mend}"
    )


def _mend(container: Tree, root: str, folders: list[str], files: list[str]) -> str:
    if not folders:
        return _without_folders(files)
    below = {name: container.children(root + name) for name in folders}
    for name, (inner, inside) in below.items():
        if inner and not any(map(looks_like_image, inside)) and (split := _almost(name)):
            return f"did you mean {split}? rename {printable(name)}"
    # As for detection, with boxes in labels/.
    if {"images", "labels"} <= set(folders) or {"images", "annotations"} <= set(folders):
        return "these are images with boxes; sort the images into a folder for each class"
    turned = [name for name, (inner, _) in below.items() if {*map(split_of, inner)} - {None}]
    if turned and len(turned) == len(folders):
        first = printable(turned[0])
        return f"turn the folders around: train/{first} in place of {first}/train"
    return ""


def _almost(name: str) -> SplitName | None:
    """The split that a folder is called almost like: training_set, 01_test, seg_train."""
    words = re.findall("[a-z]+", name.lower())
    found = {split for split, names in NAMES.items() if set(words) & set(names)}
    return found.pop() if len(found) == 1 and not split_of(name) else None


def _without_folders(files: list[str]) -> str:
    """What to do with files alone."""
    if not files:
        return "put your images there"
    if any(map(looks_like_image, files)):
        sheets = [name for name in files if name.lower().endswith(_SHEETS)]
        if sheets:
            return f"save {printable(sheets[0])} as CSV, with the columns file and label"
        return "sort the images into a folder for each class, or write a table"
    if records := [name for name in files if name.lower().endswith(_RECORDS)]:
        return f"{printable(records[0])} holds no image files; write its images as .png files"
    if packed := [name for name in files if name.lower().endswith(_ARCHIVES)]:
        return f"unpack {printable(packed[0])}"
    return "no images are there"
