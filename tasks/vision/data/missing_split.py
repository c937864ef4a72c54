"""What to say where `train/` or `test/` is missing: what was found instead, and what fits it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tasks.vision.errors import BadInput
from tasks.vision.files.containers import Tree
from tasks.vision.files.image_files import looks_like_image
from tasks.vision.text import first_of, printable

SPLITS = ("train", "test")
LAYOUT = "train/<class>/<image> and test/<class>/<image>"
VALID = "valid"  # stands for each of:
_VALIDATION = ("val", VALID, "validation", "dev", "eval")

_TABLES = (".csv", ".tsv", ".json", ".jsonl", ".xlsx", ".txt")
_RECORDS = (
    *(".parquet", ".arrow", ".tfrecord", ".npy", ".npz", ".mat", ".h5", ".hdf5", ".pkl", ".pt"),
)
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")
_DEEPEST = 4  # folders down that are searched for the splits


def is_validation(name: str) -> bool:
    """True for the usual names of a folder of validation images."""
    return name.lower() in _VALIDATION


def missing_split(container: Tree, root: str, splits: Sequence[str]) -> BadInput:
    """The error for the splits that are not in the folder `root` ("" or "name/")."""
    folders, files = map(sorted, container.children(root.rstrip("/")))
    missing = [split for split in splits if split not in folders]
    found = first_of([*(f"{name}/" for name in folders), *files]) or "nothing"
    mend = _mend(container, root, missing, folders, files)
    return BadInput(
        f"{container.given} has no folder {' and no folder '.join(missing)}; expected {LAYOUT};"
        f" found: {found}: {mend}"
    )


def _mend(
    container: Tree, root: str, missing: list[str], folders: list[str], files: list[str]
) -> str:
    below = {name: container.children(root + name) for name in folders}
    inner = {each for inside, _ in below.values() for each in inside}
    if not folders and not files:
        return "put your images there"
    if renames := list(_renames(missing, [*folders, *sorted(inner)])):
        return "; ".join(renames)
    # As for detection, with boxes in labels/.
    if {"images", "labels"} <= set(folders) or {"images", "annotations"} <= set(folders):
        return "these are images with boxes; sort the images into a folder for each class"
    if set(SPLITS) & inner:
        first = printable(min(name for name in folders if set(SPLITS) & {*below[name][0]}))
        return f"turn the folders around: train/{first} in place of {first}/train"
    if deep := _deeper(container, root):
        return f"the splits are in {printable(deep)}: give that folder, or pack it alone"
    if "train" in folders and missing == ["test"]:
        if near := [name for name in folders if is_validation(name)]:
            return (
                f"rename {printable(near[0])} to test; validation images are held out of train by"
                " themselves"
            )
        return "move about a fifth of each class's pictures from train/<class> into test/<class>"
    classes = [name for name, (_, inside) in below.items() if any(map(looks_like_image, inside))]
    stray = sum(map(looks_like_image, files))
    lone = len(classes) == len(folders) == 1
    tables = [name for name in files if name.lower().endswith(_TABLES)]
    if tables and (stray or lone):
        return (
            f"no table is read, such as {printable(tables[0])}: sort the images into a folder for each"
            " class"
        )
    if records := [name for name in files if name.lower().endswith(_RECORDS)]:
        return f"{printable(records[0])} holds no image files; write its images as .png files"
    if packed := [name for name in files if name.lower().endswith(_ARCHIVES)]:
        return f"unpack {printable(packed[0])}"
    if stray or lone:
        return "sort the images into a folder for each class, and these into train and test"
    if classes:
        return (
            f"{first_of(sorted(classes))} look like classes: move about a fifth of each class's pictures into"
            " test/<class> and the others into train/<class>"
        )
    nested = [f"{name}/{each}" for name, (inside, _) in below.items() for each in inside]
    if nested:
        return f"move folders of images, such as {printable(min(nested))}, to train/<class> and test/<class>"
    return "no images are there"


def _renames(missing: list[str], folders: list[str]) -> Iterator[str]:
    """A hint for each missing split that a folder is named almost like."""
    for split in missing:
        for name in folders:
            plain = name.lower().strip("0123456789 _-.")
            if name not in SPLITS and (plain.startswith(split) or plain.endswith(split)):
                yield f"did you mean {split}? rename {printable(name)}"
                break


def _deeper(container: Tree, root: str) -> str:
    """A folder further down that holds train/; "" if none does."""
    level = [root.rstrip("/")]
    for _ in range(_DEEPEST):
        level = [
            f"{folder}/{name}".lstrip("/")
            for folder in level
            for name in container.children(folder)[0]
            if not container.is_link_loop(f"{folder}/{name}".lstrip("/"))
        ][:200]
        for folder in level:
            if "train" in container.children(folder)[0]:
                return folder
    return ""
