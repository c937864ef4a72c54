"""The layout `train/<class>/` and `test/<class>/`: find it, or say what is wrong with it."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from tasks.vision.data.containers import Container, link_loop
from tasks.vision.data.image_files import looks_like_image, select_images
from tasks.vision.errors import BadInput
from tasks.vision.text import printable

SPLITS = ("train", "test")
LAYOUT = "train/<class>/<image> and test/<class>/<image>"


def find_root(container: Container, splits: Sequence[str]) -> str:
    """Folder that holds the splits: "" for the top or, one level down, "name/"."""
    folders, files = container.children("")
    if set(SPLITS) & set(folders):
        return ""
    inner = [name for name in folders if set(SPLITS) & set(container.children(name)[0])]
    if len(inner) > 1:
        raise BadInput(
            f"{container.given} holds several data sets: {_listed(inner)}; expected one: name it"
        )
    if not inner:
        below = [each for name in folders for each in container.children(name)[0]]
        raise _no_split(container, splits[0], folders + files, folders + below)
    return f"{inner[0]}/"


def find_classes(container: Container, root: str, split: str) -> dict[str, list[str]]:
    """Image names by class of one split; classes and names are sorted."""
    folders, files = container.children(root.rstrip("/"))
    if split not in folders:
        raise _no_split(container, split, folders + files, folders)
    labels, files = container.children(root + split)
    misplaced = [f"{split}/{name}" for name in filter(looks_like_image, files)]
    if not labels and not misplaced:
        raise BadInput(f"{container.given} has no class folders in {split}; expected {LAYOUT}")
    classes = {}
    for label in sorted(labels):
        folder = f"{split}/{label}"
        if container.is_link_loop(root + folder):
            raise link_loop(f"{container.given}/{root}{folder}")
        deeper, files = container.children(root + folder)
        for name in deeper:
            images = filter(looks_like_image, container.children(f"{root}{folder}/{name}")[1])
            misplaced += [f"{folder}/{name}/{image}" for image in images]
        classes[label] = select_images(files)
        if not classes[label] and not misplaced:
            raise BadInput(
                f"{container.given} has no images in {printable(folder)}; expected some .png or .jpg:"
                " fill or remove the folder"
            )
    if misplaced:
        raise BadInput(
            f"{container.given} has {printable(min(misplaced))}; expected {LAYOUT}: move it there"
        )
    return classes


def _no_split(container: Container, split: str, top: list[str], folders: list[str]) -> BadInput:
    hint = suggest_rename(split, folders)
    return BadInput(
        f"{container.given} has no folder {split}; expected {LAYOUT}; found: {_listed(top)}"
        f"{': ' if hint else ''}{hint}"
    )


def suggest_rename(split: str, folders: list[str]) -> str:
    """A hint if one of `folders` is named almost like the missing `split`; else ""."""
    near = {name.lower(): name for name in folders if name not in SPLITS}
    close = difflib.get_close_matches(split, near, n=1, cutoff=0.7)
    return f"did you mean {split}? rename {printable(near[close[0]])}" if close else ""


def check_same_classes(given: str, train: dict[str, list[str]], test: dict[str, list[str]]) -> None:
    """Raise `BadInput` for classes that are in one split only."""
    for a, some, b, others in (("test", test, "train", train), ("train", train, "test", test)):
        if extra := [label for label in some if label not in others]:
            close = difflib.get_close_matches(extra[0], others, n=1)
            hint = (
                f"did you mean {printable(close[0])}?" if close else f"{b} has {_listed([*others])}"
            )
            raise BadInput(
                f"{given} has classes in {a} that {b} lacks: {_listed(extra)}; expected the same in"
                f" both: {hint}"
            )


def _listed(names: list[str]) -> str:
    some = ", ".join(printable(name) for name in sorted(names)[:10])
    return f"{some} and {len(names) - 10} more" if len(names) > 10 else some or "nothing"
